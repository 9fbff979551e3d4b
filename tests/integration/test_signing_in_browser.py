"""Signing in with a real browser: by password, and at an identity provider."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext, Page, expect

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server
from clusterodm.libs.common.secret import Secret
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role, role_rules
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.adapters import OidcProvider
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.web.api.guard import web_app
from tests.browsing import CHROMIUM, a_browser
from tests.fake_scheduler import FakeScheduler, admin_health, node
from tests.oidc_provider import identity_provider

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]


@pytest.fixture
async def page(nats_bus: NatsBus) -> AsyncIterator[Page]:
    fake = FakeScheduler()
    fake.nodes = [node(1)]
    listener = listen("127.0.0.1", 0, "--admin-web-port")
    url = f"http://127.0.0.1:{port_of(listener)}"
    logins, passwords = LoginThrottle(), Passwords({Role.ADMIN: "pass"})
    async with identity_provider() as idp, nats_bus.serve("scheduler", fake.handlers()):
        idp.groups = {"ann": ["staff"]}
        provider = OidcProvider(idp.issuer, "cluster", Secret("client-secret"), f"{url}/signin/callback")
        signins = SignIns(nats_bus, passwords, logins, provider, "groups", role_rules("staff=operator"))
        app = web_app(nats_bus, passwords, logins, admin_health(nats_bus), signins=signins)
        async with web_server(app, listener), a_browser() as browser:
            context: BrowserContext = await browser.new_context(base_url=url)
            context.set_default_navigation_timeout(90_000)  # as in tests/browsing.py
            opened = await context.new_page()
            problems: list[str] = []
            opened.on("pageerror", lambda error: problems.append(str(error)))
            await opened.goto("/")
            yield opened
            await context.close()
            assert problems == []


async def test_somebody_signs_in_by_password_and_out_again(page: Page) -> None:
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.get_by_label("User").fill("admin")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("Wrong user or password.")
    await page.get_by_label("User").fill("admin")
    await page.get_by_label("Password").fill("pass")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("link", name="Nodes", exact=True)).to_be_visible()
    await page.goto("/nodes")
    await expect(page.get_by_text("127.0.0.1:4001").first).to_be_visible()
    await page.goto("/signout")
    await page.get_by_role("button", name="Sign out everywhere").click()
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_a_page_whose_session_has_ended_leads_to_signing_in_and_back(page: Page) -> None:
    await page.context.add_cookies([{"name": "prefs", "value": '{"of": "another program"}', "url": page.url}])
    await page.goto("/nodes")
    await signed_in(page)
    await expect(page.get_by_text("127.0.0.1:4001").first).to_be_visible()
    await expect(page.locator("#link")).to_have_text("live")
    await page.context.clear_cookies(name="clusterodm_session")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await signed_in(page)
    await expect(page).to_have_url(re.compile("/nodes$"))


async def signed_in(page: Page) -> None:
    await page.get_by_label("User").fill("admin")
    await page.get_by_label("Password").fill("pass")
    await page.get_by_role("button", name="Sign in").click()


async def test_somebody_signs_in_at_an_identity_provider(page: Page) -> None:
    await page.get_by_role("link", name="Sign in at your organisation").click()
    await page.get_by_label("Name").fill("ann")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("link", name="Nodes", exact=True)).to_be_visible()
    await page.goto("/nodes")
    await expect(page.get_by_text("127.0.0.1:4001").first).to_be_visible()
    await page.goto("/signout")
    await expect(page.get_by_text(re.compile(r"You are ann \(oidc:[0-9a-f]{16}\) \(operator\)\."))).to_be_visible()
