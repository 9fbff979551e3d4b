"""Signing in on the web, over real HTTP: passwords, an identity provider, sessions, roles, and what strangers try."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server
from clusterodm.libs.common.messages.operators import OPERATOR_ACTED, OperatorActed
from clusterodm.libs.common.secret import Secret
from clusterodm.services.admin.access.passwords import Passwords, hashed
from clusterodm.services.admin.access.roles import Role, role_rules
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.adapters import OidcProvider
from clusterodm.services.admin.signin.core import user_of
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_scheduler import FakeScheduler, admin_health, node
from tests.oidc_provider import OidcIdentityProvider, identity_provider
from tests.waiting import until

PASSWORDS = Passwords(
    {Role.ADMIN: hashed("admin-pw", b"0123456789abcdef"), Role.OPERATOR: "operator-pw", Role.VIEWER: "viewer-pw"}
)
HTML = {"Accept": "text/html"}
BY_PAGE = {"X-Requested-With": "page"}
COOKIE = "clusterodm_session"


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1)]
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


@pytest.fixture
async def acts(nats_bus: NatsBus) -> AsyncIterator[list[OperatorActed]]:
    told: list[OperatorActed] = []

    async def heard(act: OperatorActed) -> None:
        told.append(act)

    async with nats_bus.subscribe(OPERATOR_ACTED, heard):
        yield told


Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def serving(nats_bus: NatsBus, scheduler: FakeScheduler) -> Serving:
    @asynccontextmanager
    async def serve(issuer: str = "", *, secure: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        listener = listen("127.0.0.1", 0, "--admin-web-port")
        url = f"http://127.0.0.1:{port_of(listener)}"
        logins = LoginThrottle()
        provider = (
            OidcProvider(issuer, "cluster", Secret("client-secret"), f"{url}/signin/callback") if issuer else None
        )
        rules = role_rules("admins=admin,staff=operator")
        signins = SignIns(nats_bus, PASSWORDS, logins, provider, "groups", rules)
        app = web_app(nats_bus, PASSWORDS, logins, admin_health(nats_bus), signins=signins, secure=secure)
        async with web_server(app, listener), httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield client

    return serve


@pytest.fixture
async def web(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with serving() as client:
        yield client


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


async def sign_in(web: httpx.AsyncClient, role: str = "admin", password: str = "", **fields: Any) -> httpx.Response:
    form = {
        "form_token": token_in(await web.get("/signin")),
        "user": role,
        "password": password or f"{role}-pw",
        **fields,
    }
    return await web.post("/signin", data=form)


async def test_a_browser_signs_in_by_password_and_goes_where_it_wanted(web: httpx.AsyncClient) -> None:
    away = await web.get("/r/node/list?x=1", headers=HTML)
    assert (away.status_code, away.headers["location"]) == (303, "/signin?next=%2Fr%2Fnode%2Flist%3Fx%3D1")
    done = await sign_in(web, next="/r/node/list?x=1")
    assert (done.status_code, done.headers["location"]) == (303, "/r/node/list?x=1")
    assert (await web.get("/r/node/list")).status_code == 200
    assert (await web.post("/r/node/lock", json={"number": 1}, headers=BY_PAGE)).json() is True


async def test_scripts_go_on_with_basic_authentication(web: httpx.AsyncClient) -> None:
    unknown = await web.get("/r/node/list")
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, 'Basic realm="ClusterODM"')
    for user in ("admin", "operator", "viewer"):
        assert (await web.get("/r/node/list", auth=(user, f"{user}-pw"))).status_code == 200
    assert (await web.get("/r/node/list", auth=("admin", "viewer-pw"))).status_code == 401


async def test_a_cookie_is_for_this_site_alone_and_not_for_scripts(serving: Serving) -> None:
    async with serving() as web:
        cookie = (await sign_in(web)).headers.get_list("set-cookie")[0].lower()
        assert {"httponly", "samesite=lax", "path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "domain" not in cookie
    async with serving(secure=True) as web:
        page = await web.get("/signin")
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert "Secure" in cookie


async def test_a_session_id_that_somebody_has_ready_is_never_taken(web: httpx.AsyncClient) -> None:
    web.cookies.set(COOKIE, "planted-id", domain="127.0.0.1")
    assert (await web.get("/r/node/list")).status_code == 401
    done = await sign_in(web)
    given = done.headers.get_list("set-cookie")[0]
    assert given.startswith(f"{COOKIE}=")
    assert "planted-id" not in given
    web.cookies.clear()
    web.cookies.set(COOKIE, "planted-id", domain="127.0.0.1")
    assert (await web.get("/r/node/list")).status_code == 401


async def test_signing_in_again_ends_the_session_before(web: httpx.AsyncClient) -> None:
    await sign_in(web, "viewer")
    before = web.cookies[COOKIE]
    await sign_in(web, "admin")
    assert web.cookies[COOKIE] != before
    web.cookies.clear()
    assert (await web.get("/r/node/list", headers={"Cookie": f"{COOKIE}={before}"})).status_code == 401


async def test_a_form_of_another_site_signs_nobody_in_or_out(web: httpx.AsyncClient) -> None:
    form = {"user": "admin", "password": "admin-pw", "form_token": "guessed"}
    assert (await web.post("/signin", data=form)).status_code == 403
    token = token_in(await web.get("/signin"))
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await web.post("/signin", data={**form, "form_token": token}, headers=foreign)).status_code == 403
    assert COOKIE not in web.cookies
    await sign_in(web)
    assert (await web.post("/signout", data={"where": "everywhere"})).status_code == 403
    assert (await web.get("/r/node/list")).status_code == 200


async def test_a_cookie_alone_changes_nothing(web: httpx.AsyncClient, scheduler: FakeScheduler) -> None:
    await sign_in(web)
    for headers in ({}, {**BY_PAGE, "Origin": "https://evil.example"}, {**BY_PAGE, "Sec-Fetch-Site": "cross-site"}):
        assert (await web.post("/r/node/lock", json={"number": 1}, headers=headers)).status_code == 403
    assert not scheduler.nodes[0].locked


async def test_whatever_the_page_for_signing_in_loads_is_there_before_anybody_signs_in(web: httpx.AsyncClient) -> None:
    page = await web.get("/signin")
    loaded = re.findall(r'<link [^>]*href="([^"]+)"', page.text)
    assert "/favicon.ico" in loaded  # what browsers ask for where a page names none
    assert [(await web.get(path)).status_code for path in loaded] == [200] * len(loaded)


async def test_nothing_may_be_shown_in_a_frame_or_kept(web: httpx.AsyncClient) -> None:
    page = await web.get("/signin")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"


async def test_a_foreign_name_gets_no_form(web: httpx.AsyncClient) -> None:
    assert (await web.get("/signin", headers={"Host": "evil.example"})).status_code == 421


async def test_what_is_typed_is_shown_as_text(web: httpx.AsyncClient) -> None:
    page = await web.get("/signin", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>" not in page.text


async def test_somebody_signs_out_here_and_everywhere(serving: Serving) -> None:
    async with serving() as web:
        await sign_in(web, "operator")
        first = web.cookies[COOKIE]
        web.cookies.clear()
        await sign_in(web, "operator")
        page = await web.get("/signout")
        assert page.status_code == 200
        out = await web.post("/signout", data={"form_token": token_in(page), "where": "everywhere"})
        assert out.headers["location"] == "/signin"
        web.cookies.clear()
        assert (await web.get("/r/node/list", headers={"Cookie": f"{COOKIE}={first}"})).status_code == 401
        assert (await web.get("/signout")).status_code == 401


@pytest.mark.parametrize(
    ("role", "lock", "delete"), [("viewer", 403, 403), ("operator", True, False), ("admin", True, True)]
)
@pytest.mark.parametrize("by", ["cookie", "basic"])
async def test_no_role_does_more_than_it_may(
    web: httpx.AsyncClient, scheduler: FakeScheduler, role: str, lock: Any, delete: Any, by: str
) -> None:
    if by == "cookie":
        await sign_in(web, role)
    auth = (role, f"{role}-pw") if by == "basic" else None
    for method, path, expected in (("POST", "/r/node/lock", lock), ("DELETE", "/r/node", delete)):
        answer = await web.request(method, path, json={"number": 1}, headers=BY_PAGE, auth=auth)
        assert answer.status_code == 403 if expected == 403 else answer.json() is expected
    assert len(scheduler.nodes) == (0 if delete is True else 1)


async def test_every_act_is_told_with_who_and_from_where(web: httpx.AsyncClient, acts: list[OperatorActed]) -> None:
    await sign_in(web, "admin", "wrong")
    await sign_in(web, "operator")
    await web.post("/r/node/lock", json={"number": 1}, headers=BY_PAGE)
    await web.request("DELETE", "/r/node", json={"number": 1}, headers=BY_PAGE)
    await until(lambda: len(acts) == 4)
    assert [(each.user, each.act, each.outcome) for each in acts] == [
        ("", "SIGN IN", "refused"),
        ("operator", "SIGN IN", "done"),
        ("operator", "NODE LOCK", "done"),
        ("operator", "NODE DEL", "refused"),
    ]
    assert {each.address for each in acts} == {"127.0.0.1"}
    assert "pw" not in str(acts)


async def test_all_doors_have_one_budget_for_wrong_passwords(web: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await sign_in(web, "admin", "wrong")).status_code == 403
    assert (await web.get("/r/node/list", auth=("admin", "wrong"))).status_code == 401


def called(idp: OidcIdentityProvider, sub: str, name: str = "") -> str:
    """How somebody is called on record, and on pages."""
    return f"{name or sub} ({user_of({'iss': idp.issuer, 'sub': sub})})"


class TestIdentityProvider:
    @pytest.fixture
    async def idp(self) -> AsyncIterator[OidcIdentityProvider]:
        async with identity_provider() as provider:
            provider.groups = {"ann": ["admins"], "bob": ["staff"], "eve": ["guests"]}
            yield provider

    @pytest.fixture
    async def web(self, serving: Serving, idp: OidcIdentityProvider) -> AsyncIterator[httpx.AsyncClient]:
        async with serving(idp.issuer) as client:
            yield client

    async def back_from(self, web: httpx.AsyncClient, idp: OidcIdentityProvider, sub: str) -> str:
        """Sign in at the provider; where it sends the browser back to."""
        away = await web.get("/signin/oidc?next=/r/info")
        assert away.status_code == 303, away.text
        return idp.answer(dict(httpx.URL(away.headers["location"]).params), sub)

    async def test_somebody_signs_in_and_has_the_role_of_the_groups(
        self, web: httpx.AsyncClient, idp: OidcIdentityProvider, acts: list[OperatorActed]
    ) -> None:
        done = await web.get(await self.back_from(web, idp, "bob"))
        assert (done.status_code, done.headers["location"]) == (303, "/r/info")
        assert (await web.post("/r/node/lock", json={"number": 1}, headers=BY_PAGE)).json() is True
        assert (await web.request("DELETE", "/r/node", json={"number": 1}, headers=BY_PAGE)).json() is False
        await until(lambda: len(acts) == 3)
        assert {(each.user, each.role) for each in acts} == {(called(idp, "bob"), "operator")}

    async def test_who_has_no_role_stays_out(self, web: httpx.AsyncClient, idp: OidcIdentityProvider) -> None:
        refused = await web.get(await self.back_from(web, idp, "eve"))
        assert refused.status_code == 403
        assert COOKIE not in web.cookies

    async def test_a_code_works_once_and_for_the_browser_that_began(
        self, web: httpx.AsyncClient, idp: OidcIdentityProvider
    ) -> None:
        back = await self.back_from(web, idp, "ann")
        mine = dict(web.cookies)
        web.cookies.clear()
        assert (await web.get(back)).status_code == 403  # somebody else's browser was sent there
        again = await self.back_from(web, idp, "ann")
        assert (await web.get(again)).status_code == 303
        assert (await web.get(again)).status_code == 403
        assert mine

    @pytest.mark.parametrize(
        "lies",
        [
            {"aud": "another"},
            {"iss": "https://evil.example"},
            {"nonce": "another"},
            {"exp": 1},
            {"sub": None},
        ],
        ids=lambda lies: next(iter(lies)),
    )
    async def test_a_token_that_is_not_for_this_sign_in_is_refused(
        self, web: httpx.AsyncClient, idp: OidcIdentityProvider, lies: dict[str, Any]
    ) -> None:
        idp.lies = lies
        assert (await web.get(await self.back_from(web, idp, "ann"))).status_code == 403
        assert COOKIE not in web.cookies

    async def test_a_token_by_another_key_is_refused(self, web: httpx.AsyncClient, idp: OidcIdentityProvider) -> None:
        idp.signs_with = RSAKey.generate_key(2048, parameters={"kid": "one"})
        assert (await web.get(await self.back_from(web, idp, "ann"))).status_code == 403

    async def test_a_provider_that_is_away_is_said(self, serving: Serving) -> None:
        async with serving("http://127.0.0.1:1") as web:
            answer = await web.get("/signin/oidc")
            assert answer.status_code == 403
            assert "does not answer" in answer.text

    async def test_nobody_is_called_as_a_password_is(
        self, web: httpx.AsyncClient, idp: OidcIdentityProvider, acts: list[OperatorActed]
    ) -> None:
        idp.groups["admin"] = ["staff"]
        assert (await web.get(await self.back_from(web, idp, "admin"))).status_code == 303
        await until(lambda: acts)
        assert acts[0].user == called(idp, "admin")

    async def test_two_people_of_one_name_are_two_on_record_and_have_no_session_in_common(
        self, web: httpx.AsyncClient, idp: OidcIdentityProvider, acts: list[OperatorActed]
    ) -> None:
        idp.lies, idp.groups["cyd"] = {"preferred_username": "admin"}, ["staff"]
        sessions = dict[str, str]()
        for sub in ("bob", "cyd"):
            web.cookies.clear()
            assert (await web.get(await self.back_from(web, idp, sub))).status_code == 303
            sessions[sub] = web.cookies[COOKIE]
        page = await web.get("/signout")
        assert f"You are {called(idp, 'cyd', 'admin')} (operator)." in page.text
        await web.post("/signout", data={"form_token": token_in(page), "where": "everywhere"})
        web.cookies.clear()
        for sub, status in (("bob", 200), ("cyd", 401)):
            headers = {"Cookie": f"{COOKIE}={sessions[sub]}"}
            assert (await web.get("/r/node/list", headers=headers)).status_code == status
        await until(lambda: len(acts) == 3)
        assert [each.user for each in acts] == [called(idp, sub, "admin") for sub in ("bob", "cyd", "cyd")]
