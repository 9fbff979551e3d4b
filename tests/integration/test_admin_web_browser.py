"""The operators' pages in a real browser, in front of a scheduler that a test fills, and of a whole cluster."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from msgspec.structs import replace
from playwright.async_api import Page, Route, expect

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.messages.health import STANDBY_REPORTED, HealthReport, StandbyReported
from clusterodm.libs.common.messages.nodes import DrainNode
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.usage import UsageRow, Used
from clusterodm.libs.common.model.tasks import Moment, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.tenancy import digest_of
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.tenants.adapters import TokensFileStore
from clusterodm.services.admin.tenants.core.commands import CreateToken
from clusterodm.services.admin.tenants.core.file import carried_out
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.guard import web_app
from tests.browsing import CHROMIUM, PASSWORD, a_browser, visiting
from tests.cluster import Cluster
from tests.fake_autoscaler import FakeAutoscaler
from tests.fake_scheduler import INFO, FakeScheduler, admin_health, node, task
from tests.waiting import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]

PICTURES = os.environ.get("CLUSTERODM_TEST_PICTURES", "")
"""A directory: screenshots are left there."""
AXE = AXE_FILE_PATH.read_text(encoding="utf-8")

IDS = [f"6f9619ff-8b86-4011-b42d-00c04fc9640{number}" for number in range(8)]
UPLOAD = "7f9619ff-8b86-4011-b42d-00c04fc96400"
TRICKY = "Evil \u202egpj\u0085 <img src=x onerror=alert(1)>"
PAGES = {
    "overview": "/",
    "tasks": "/tasks",
    "task": f"/tasks/{IDS[2]}",
    "queue": "/queue",
    "nodes": "/nodes",
    "node": "/nodes/odm-large.example.org-3000",
    "machines": "/machines",
    "machine": "/machines/clusterodm-abc123-10-xyz",
    "tenants": "/tenants",
    "tenant": "/tenants/survey",
    "usage": "/usage?by=month",
    "events": "/events",
    "services": "/services",
    "settings": "/settings",
    "api": "/api/v1/docs",
}
LOOKS = {"light": (3840, 1400, 800, 360), "dark": (1400, 800, 360)}
NOT_FOUND = "404"
"""Chromium also says that a task's console, which its page asks for every two seconds, has gone with the task."""


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [
        node(1, "odm-large.example.org", 3000, slots_used_count=2, info=replace(INFO, max_images=5000)),
        node(2, "odm-small.example.org", 3000, info=replace(INFO, max_images=150, task_queue_count=0)),
        node(3, "10.0.0.17", 3001, locked=True, labels=("gpu", "large")),
        node(4, "10.0.0.18", 3001, online=False, trouble="no answer within 5 s", info=None),
        node(5, "203.0.113.9", 3000, auto_spawned=True),
    ]
    told = (Moment(at_ms=now_ms() - 90_000, text="Waiting for a node: no free slot"),)
    fake.tasks = [
        task(IDS[0], TaskState.COMPLETED, fake.nodes[1], name="Quarry, north face"),
        task(
            IDS[1], TaskState.FAILED, fake.nodes[1], name="Bridge", error="Cannot process dataset", ended_at_ms=now_ms()
        ),
        task(IDS[2], on=fake.nodes[0], name="Vineyard <b>survey</b>", images_count=1240, timeline=told),
        task(IDS[3], TaskState.FORWARDING, fake.nodes[0], name="Landfill volume", size_bytes=10**9),
        task(
            IDS[4],
            TaskState.WAITING,
            name="Coast line",
            waiting_because="all nodes that fit are busy",
            images_count=400,
        ),
        task(IDS[5], TaskState.WAITING, name=TRICKY, waiting_because="all nodes that fit are busy"),
    ]
    fake.tasks = [
        replace(each, committed_at_ms=now_ms() - (7 - place) * 37 * 60_000) for place, each in enumerate(fake.tasks)
    ]
    fake.usage = [
        UsageRow(
            tenant=name,
            owner=Owner(name),
            period="2026-11",
            used=Used(completed_count=12, images_count=900, node_ms=10**7),
        )
        for name in ("survey", "guest")
    ]
    fake.consoles = {IDS[2]: tuple(f"[INFO] running stage {number}" for number in range(80))}
    async with nats_bus.serve("scheduler", fake.handlers()), nats_bus.serve("autoscaler", FakeAutoscaler().handlers()):
        yield fake


@pytest.fixture
async def tokens(tmp_path: Path) -> TokensFileStore:
    """A file with two tenants."""
    store = TokensFileStore(tmp_path / "tokens.json")
    for asked in (
        CreateToken("survey", {"weight": 3, "storage_bytes": "2TB"}, note="the office"),
        CreateToken("guest", {"max_images_count": 500, "tasks_at_once_count": 2}, expires="30d"),
    ):
        await store.change(partial(carried_out, asked, now_ms()))
    return store


@pytest.fixture
async def site(nats_bus: NatsBus, scheduler: FakeScheduler, tokens: TokensFileStore) -> AsyncIterator[str]:
    """The pages, served; their address."""
    assert scheduler.nodes
    watched = Watched(nats_bus)
    listener = listen("127.0.0.1", 0, "--admin-web-port")
    app = web_app(nats_bus, PASSWORD, LoginThrottle(), admin_health(nats_bus), watched=watched, tokens=tokens)
    async with watched.running(), web_server(app, listener):
        progress = await nats_bus.bucket(PROGRESS)
        upload = UploadProgress(
            task=TaskId(UPLOAD),
            instance=InstanceId("p1"),
            name="Orchard",
            created_at_ms=now_ms(),
            arrived_bytes=3_500_000,
            files_count=7,
            receiving=True,
            rate_bytes_per_s=900_000.0,
        )
        await progress.put(UPLOAD, upload)
        yield f"http://127.0.0.1:{port_of(listener)}"


async def complaints_of(page: Page) -> list[str]:
    """Ask axe, which is in the page, what somebody with a screen reader, or weak eyes, would stumble over."""
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]} ({len(each['nodes'])})" for each in found["violations"]]


async def is_drawn_anew(page: Page) -> None:
    """Wait until every plot is as wide as its figure: a page draws them anew a moment after its window has changed."""
    plots_fit = """[...document.querySelectorAll("figure.plot:not([hidden])")].every((figure) =>
        figure.querySelector(".uplot")?.clientWidth === Math.max(200, figure.clientWidth - 24))"""
    await until(lambda: page.evaluate(plots_fit), timeout_s=20, step_s=0.05, what="plots as wide as their figures")


@pytest.mark.timeout(400)  # fifteen pages
@pytest.mark.parametrize(("scheme", "widths"), LOOKS.items(), ids=LOOKS)
async def test_every_page_is_sound_at_every_width_in_light_and_dark(site: str, scheme: str, widths: tuple[int, ...]):
    found: list[str] = []
    async with a_browser() as browser, visiting(browser, site, scheme=scheme, width=widths[0]) as page:
        for name, path in PAGES.items():
            await page.goto(path)
            await expect(page.locator("h1")).to_be_visible()
            await expect(page.locator("#link")).to_have_text("live")
            if name == "overview":
                await expect(page.locator(".u-legend").first).to_be_visible()
            await page.evaluate(AXE)  # the page's own policy forbids a script in its text
            for width in widths:  # by styles alone a page follows its window, but for its plots
                await page.set_viewport_size({"width": width, "height": 900})
                await is_drawn_anew(page)
                assert await page.evaluate("innerWidth") == width
                found += [f"{name} at {width}: {each}" for each in await complaints_of(page)]
                if await page.evaluate("document.documentElement.scrollWidth") > width:
                    found.append(f"{name} at {width}: wider than the window")
                if PICTURES:
                    await page.screenshot(path=f"{PICTURES}/{name}-{scheme}-{width}.png")
    assert found == [], "\n".join(found)


async def test_a_standby_is_shown_beside_the_service_that_leads(site: str, nats_bus: NatsBus):
    health = HealthReport(ok=True, service="scheduler", version="2.0.0", host="other-computer", turn_ms=0.4)
    reported = StandbyReported(instance=InstanceId("other-1f2e"), since_ms=now_ms() - 60_000, health=health)

    async def goes_on_saying_so() -> None:
        while True:  # who is silent for 15 s is away
            await nats_bus.publish(STANDBY_REPORTED, reported)
            await asyncio.sleep(1)

    async with a_browser() as browser, visiting(browser, site) as page, asyncio.TaskGroup() as group:
        saying = group.create_task(goes_on_saying_so())
        await page.goto("/services")
        standby = page.locator("section.card", has_text="other-1f2e")
        await expect(standby).to_contain_text("Waits to lead since")
        await expect(standby).to_contain_text("other-computer")
        await expect(page.locator("section.card[aria-label^=scheduler]")).to_have_count(2)
        saying.cancel()


async def test_a_page_is_in_view_among_the_names_of_all_on_a_telephone(site: str):
    async with a_browser() as browser, visiting(browser, site, width=360) as page:
        await page.goto("/settings")
        await expect(page.locator("nav a[aria-current]")).to_be_in_viewport()


async def test_an_operator_steers_nodes(site: str, scheduler: FakeScheduler):
    async with a_browser() as browser, visiting(browser, site) as page:
        await page.goto("/nodes")
        rows = page.locator("table.rows tbody tr")
        await expect(rows).to_have_count(5)
        await expect(rows.nth(3)).to_contain_text("no answer within 5 s")
        await rows.nth(0).get_by_role("button", name="Lock", exact=True).click()
        await expect(rows.nth(0).get_by_role("button", name="Unlock")).to_be_visible()
        assert scheduler.nodes[0].locked
        await rows.nth(0).get_by_role("button", name="Unlock").click()
        await expect(rows.nth(0).get_by_role("button", name="Lock", exact=True)).to_be_visible()

        await page.get_by_role("button", name="Add node").click()
        await page.get_by_label("Hostname").fill("odm-small.example.org")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#add-node .problem")).to_have_text(
            "odm-small.example.org:3000 is registered already"
        )
        await page.get_by_label("Hostname").fill("odm-new.example.org")
        await page.get_by_label("Token").fill("s3cret")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(rows).to_have_count(6)
        assert scheduler.tokens[scheduler.nodes[5].id] == "s3cret"

        await page.get_by_role("searchbox").fill("odm-new")
        await expect(rows).to_have_count(1)
        await expect(page).to_have_url(f"{site}/nodes?search=odm-new")
        await rows.first.get_by_role("link").click()
        await expect(page).to_have_url(f"{site}/nodes/{scheduler.nodes[5].id}")
        await expect(page.locator("#link")).to_have_text("live")
        await page.get_by_role("button", name="Drain").click()
        await page.get_by_label("Move what waits there").fill("")
        await page.locator("#drain-node").get_by_role("button", name="Drain").click()
        await expect(page.locator(".summary .pill").first).to_have_text("draining")
        assert [each.deadline_s for each in scheduler.asked if isinstance(each, DrainNode)] == [None]
        await page.get_by_role("button", name="Delete").click()
        await page.locator("#ask").get_by_role("button", name="Back").click()
        assert len(scheduler.nodes) == 6
        await page.get_by_role("button", name="Delete").click()
        await page.locator("#ask-yes").click()
        await expect(page).to_have_url(f"{site}/nodes")
        await expect(rows).to_have_count(5)


async def test_an_open_page_whose_node_or_task_goes_says_so_and_nothing_fails(site: str, scheduler: FakeScheduler):
    async with a_browser() as browser, visiting(browser, site) as page:
        await page.goto("/nodes/10.0.0.17-3001")
        await expect(page.locator("#link")).to_have_text("live")
        await page.get_by_role("button", name="Labels").click()
        await page.get_by_label("Labels, with spaces").fill("gpu tenant=survey")
        await page.locator("#label-node").get_by_role("button", name="Set").click()
        await expect(page.locator(".facts")).to_contain_text("Reserved for")
        assert scheduler.nodes[2].labels == ("gpu", "tenant=survey")
        scheduler.nodes.pop(2)
        await said_after_refreshing(page, "there is no such node")

    async with a_browser() as browser, visiting(browser, site, let_be=NOT_FOUND) as page:
        await page.goto(f"/tasks/{IDS[4]}")
        await expect(page.locator("#link")).to_have_text("live")
        await page.get_by_role("button", name="Priority").click()
        await page.get_by_label("From -10 to 10").fill("4")
        await page.locator("#prioritize").get_by_role("button", name="Set").click()
        await expect(page.locator(".facts")).to_contain_text("priority +4")
        await page.get_by_role("button", name="Move up").click()
        await expect(page.locator("#said")).to_contain_text("Move up: done.")
        assert scheduler.tasks[0].id == IDS[4]
        scheduler.tasks.pop(0)
        await said_after_refreshing(page, "not found")


async def said_after_refreshing(page: Page, words: str) -> None:
    """Let the page be loaded as when the cluster says that something has changed, until it says what it should: one that is being loaded lets it pass."""
    problem = page.locator("#live .problem")

    async def told() -> bool:
        await page.evaluate("htmx.trigger('#live', 'refresh')")
        return any(words in each for each in await problem.all_inner_texts())

    await until(told, step_s=0.2, what=f"the page to say {words!r}")


async def test_an_administrator_makes_changes_and_revokes_a_tenants_tokens(site: str, tokens: TokensFileStore):
    async with a_browser() as browser, visiting(browser, site) as page:
        await page.goto("/tenants")
        rows = page.locator("table.rows tbody tr")
        await expect(rows).to_have_count(2)
        await expect(page.locator("#link")).to_have_text("live")
        await page.get_by_role("button", name="Add tenant").click()
        await page.get_by_role("textbox", name="Name", exact=True).fill("quarry")
        await page.get_by_label("Size of a task").fill("50GB")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.locator("#secret")).to_be_visible()
        secret = await page.locator("#secret-text").inner_text()
        await page.get_by_role("button", name="Done").click()
        await expect(rows).to_have_count(3)
        (issued,) = [token for token in (await tokens.read()).tokens if token.tenant == "quarry"]
        assert issued.sha256 == digest_of(secret)
        await expect(page.locator("#secret-text")).to_be_empty()
        assert secret not in await page.content()

        await page.get_by_role("link", name="quarry").click()
        await expect(page.locator("#link")).to_have_text("live")
        await page.get_by_role("button", name="Change limits").click()
        await page.get_by_label("Weight").fill("7")
        await page.locator("#change-limits").get_by_role("button", name="Change").click()
        await expect(page.locator(".summary")).to_contain_text("Weight 7")

        async def the_page_changes() -> None:
            """As when the cluster changes: what is live is asked for again."""
            async with page.expect_response(lambda response: "/tenants/quarry" in response.url):
                await page.evaluate("htmx.trigger('#live', 'refresh')")

        async def change_meanwhile(route: Route) -> None:
            answer = await route.fetch()
            await the_page_changes()
            await route.fulfill(response=answer)

        await page.route("**/rotate", change_meanwhile)
        await page.get_by_role("button", name="Rotate").click()
        await page.locator("#ask-yes").click()
        await expect(page.locator("#secret")).to_be_visible()
        assert await page.locator("#secret-text").inner_text() != secret
        await page.get_by_role("button", name="Done").click()
        await page.locator(f"#revoke-{issued.id}").click()
        async with page.expect_response(lambda response: "/tenants/quarry" in response.url):
            await page.evaluate(
                "htmx.trigger('#live', 'refresh')"
            )  # as when the cluster changes while somebody is asked
        await page.locator("#ask-yes").click()
        await expect(page.locator(f"#revoke-{issued.id}")).to_have_count(0)
        kept = await tokens.read()
        assert issued.id not in {token.id for token in kept.tokens}
        assert [tenant.weight for tenant in kept.tenants if tenant.name == "quarry"] == [7]
        await page.get_by_role("button", name="Remove").click()
        await page.locator("#ask-yes").click()
        await expect(page).to_have_url(f"{site}/tenants")
        await expect(rows).to_have_count(2)


async def test_an_operator_finds_reads_and_steers_tasks(site: str, scheduler: FakeScheduler):
    async with a_browser() as browser, visiting(browser, site) as page:
        await page.goto("/tasks")
        rows = page.locator("table.rows tbody tr")
        await expect(rows).to_have_count(7)
        await expect(rows.first).to_contain_text("3.5 MB received, 900 kB/s")
        await expect(rows.nth(1)).to_contain_text("Evil \\u202egpj\\u0085 <img src=x onerror=alert(1)>")
        await page.get_by_role("checkbox", name="failed").check()
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("Cannot process dataset")
        await rows.get_by_role("link", name="Bridge").click()
        await expect(page.locator("#link")).to_have_text("live")  # from then on buttons do something
        await page.get_by_role("button", name="Restart").click()
        await expect(page.locator(".summary .pill").first).to_have_text("waiting")
        assert scheduler.tasks[1].state is TaskState.WAITING

        await page.goto(f"/tasks/{IDS[2]}")
        await expect(page.locator("#console")).to_contain_text("running stage 79")
        await expect(page.locator(".timeline")).to_contain_text("Waiting for a node")
        await page.get_by_role("searchbox", name="Search the console").fill("stage 7")
        await expect(page.locator("#console-found")).to_have_text("11 lines")
        scheduler.consoles[IDS[2]] += ("stage 7 again", "[INFO] something else")
        await expect(page.locator("#console-found")).to_have_text("12 lines")
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download").click()
        text = Path(await (await download.value).path()).read_text(encoding="utf-8")  # noqa: ASYNC240 it is there
        assert len(text.splitlines()) == 82
        await page.get_by_role("button", name="Cancel").click()
        await page.locator("#ask-yes").click()
        await expect(page.locator(".summary .pill").first).to_have_text("canceled")
        assert scheduler.tasks[2].state is TaskState.CANCELED


async def test_the_keyboard_reaches_everything_and_keeps_its_place(site: str, scheduler: FakeScheduler):
    async with a_browser() as browser, visiting(browser, site) as page:
        await page.goto("/nodes")
        await expect(page.locator("#link")).to_have_text("live")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        button = page.locator("#lock-odm-large\\.example\\.org-3000")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(button).to_have_text("Unlock")
        await expect(button).to_be_focused()
        assert scheduler.nodes[0].locked


HIDE = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s}); document.dispatchEvent(new Event('visibilitychange'))"


async def test_pages_that_nobody_sees_leave_a_browser_its_connections(site: str, scheduler: FakeScheduler):
    async with a_browser() as browser, visiting(browser, site) as page:
        windows = []
        for _ in range(8):  # a browser has six connections to a server
            windows.append(await page.context.new_page())
            await windows[-1].goto("/nodes", timeout=15_000)
            await expect(windows[-1].locator("#link")).to_have_text("live")
            await windows[-1].evaluate(HIDE % "true")
        scheduler.nodes[0] = replace(scheduler.nodes[0], locked=True)
        await windows[0].evaluate(HIDE % "false")
        await expect(windows[0].locator("table.rows tbody tr").first).to_contain_text("locked")


async def test_a_page_whose_scheduler_is_away_says_so_and_comes_back(nats_bus: NatsBus):
    listener = listen("127.0.0.1", 0, "--admin-web-port")
    url = f"http://127.0.0.1:{port_of(listener)}"
    app = web_app(nats_bus, "", LoginThrottle(), admin_health(nats_bus))
    async with web_server(app, listener), a_browser() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        answer = await page.goto(f"{url}/")
        assert answer is not None
        assert answer.status == 200
        await expect(page.locator(".attention")).to_contain_text("The scheduler does not answer.")
        answer = await page.goto(f"{url}/nodes")
        assert answer is not None
        assert answer.status == 503
        async with nats_bus.serve("scheduler", FakeScheduler().handlers()):
            await page.goto(f"{url}/nodes")
            await expect(page.locator("#live")).to_contain_text("No nodes yet")


async def test_an_upload_is_seen_growing_and_its_task_live_to_its_end(tmp_path: Path):
    boundary = "----x"
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="1.jpg"\r\n\r\n'.encode()
    end = f"\r\n--{boundary}--\r\n".encode()
    size_bytes = len(start) + 3_000_000 + len(end)
    async with Cluster(tmp_path) as cluster, cluster.node(task_time_s=4), a_browser() as browser:
        site = f"http://127.0.0.1:{cluster.web_port}"
        import httpx

        async with httpx.AsyncClient(base_url=cluster.url, timeout=30) as client, visiting(browser, site) as page:
            uuid = (await client.post("/task/new/init", data={"name": "Grown field"})).json()["uuid"]
            await page.goto("/tasks")
            row = page.locator("table.rows tbody tr").first
            await expect(row).to_contain_text("Grown field", timeout=40_000)
            await expect(row).to_contain_text("uploading")
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            head = f"POST /task/new/upload/{uuid} HTTP/1.1\r\nHost: x\r\nContent-Length: {size_bytes}\r\n"
            writer.write(f"{head}Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode() + start)
            writer.write(b"x" * 1_500_000)
            await writer.drain()
            await expect(row).to_contain_text("1.5 MB received", timeout=40_000)
            writer.write(b"x" * 1_500_000 + end)
            await writer.drain()
            assert b" 200 " in await reader.readline()
            await expect(row).to_contain_text("3.0 MB received", timeout=40_000)
            writer.close()
            assert (await client.post(f"/task/new/commit/{uuid}")).status_code == 200
            await page.goto(f"/tasks/{uuid}")
            state = page.locator(".summary .pill").first
            await expect(state).to_have_text("completed", timeout=40_000)
            await expect(page.locator(".timeline")).to_contain_text("Completed on")
            await expect(page.locator("#console")).to_contain_text("Completed on", timeout=40_000)
            await page.goto("/")
            await expect(page.locator(".tile", has_text="Completed").locator("dd")).to_contain_text("1")
