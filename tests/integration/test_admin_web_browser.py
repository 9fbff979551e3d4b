"""The admin page in a real browser."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.async_api import Page, async_playwright, expect

from clusterodm.libs.common.bus import NatsBus
from clusterodm.libs.common.lifecycle import now_ms
from clusterodm.libs.common.listening import listen, port_of
from clusterodm.libs.common.model import TaskState
from clusterodm.libs.common.serving import web_server
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_autoscaler import FakeAutoscaler
from tests.fake_scheduler import INFO, FakeScheduler, admin_health, node, task

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
PICTURES = os.environ.get("CLUSTERODM_TEST_PICTURES", "")
"""A directory: screenshots are left there."""

IDS = [f"6f9619ff-8b86-4011-b42d-00c04fc9640{number}" for number in range(8)]


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [
        node(1, "odm-large.example.org", 3000, slots_used_count=2, info=replace(INFO, max_images=5000)),
        node(2, "odm-small.example.org", 3000, info=replace(INFO, max_images=150, task_queue_count=0)),
        node(3, "10.0.0.17", 3001, locked=True),
        node(4, "10.0.0.18", 3001, online=False, trouble="no answer within 5 s", info=None),
        node(5, "203.0.113.9", 3000, auto_spawned=True),
    ]
    fake.tasks = [
        task(IDS[0], TaskState.COMPLETED, fake.nodes[1], name="Quarry, north face"),
        task(IDS[1], TaskState.FAILED, fake.nodes[1], name="Bridge", error="Cannot process dataset"),
        task(IDS[2], on=fake.nodes[0], name="Vineyard 2026-05-02 <b>survey</b>", images_count=1240),
        task(IDS[3], TaskState.FORWARDING, fake.nodes[0], name="Landfill volume"),
        task(
            IDS[4],
            TaskState.WAITING,
            name="Coast line",
            waiting_because="all nodes that fit are busy",
            images_count=400,
        ),
    ]
    fake.tasks = [
        replace(each, committed_at_ms=now_ms() - (6 - place) * 37 * 60_000) for place, each in enumerate(fake.tasks)
    ]
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


@pytest.fixture
async def page(nats_bus: NatsBus, scheduler: FakeScheduler) -> AsyncIterator[Page]:
    """The page, open in a browser; whatever goes wrong in its scripts fails the test."""
    problems: list[str] = []
    listener = listen("127.0.0.1", 0, "--admin-web-port")
    async with (
        web_server(web_app(nats_bus, "pass", LoginThrottle(), admin_health(nats_bus)), listener),
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split())
        context = await browser.new_context(
            http_credentials={"username": "admin", "password": "pass"}, viewport={"width": 1280, "height": 900}
        )
        opened = await context.new_page()
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        await opened.goto(f"http://127.0.0.1:{port_of(listener)}/")
        await expect(opened.locator("#link")).to_have_text("live")
        yield opened
        await browser.close()
    assert problems == []


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


async def test_an_operator_sees_and_steers_the_cluster(page: Page, scheduler: FakeScheduler):
    nodes, tasks = page.locator("#nodes tbody tr"), page.locator("#tasks tbody tr")
    await expect(nodes).to_have_count(5)
    await expect(tasks).to_have_count(5)
    await expect(page.locator("#sum-online")).to_have_text("4 / 5")
    await expect(nodes.nth(3)).to_contain_text("no answer within 5 s")
    await expect(tasks.first).to_contain_text("1st in line")
    await expect(tasks.first).to_contain_text("all nodes that fit are busy")
    await expect(page.locator("#tasks")).to_contain_text("<b>survey</b>")
    await picture(page, "light")
    await page.emulate_media(color_scheme="dark")
    await picture(page, "dark")

    await nodes.nth(0).get_by_role("button", name="Lock", exact=True).click()
    await expect(nodes.nth(0)).to_contain_text("locked")
    assert scheduler.nodes[0].locked
    await nodes.nth(0).get_by_role("button", name="Unlock").click()
    await expect(nodes.nth(0)).not_to_contain_text("locked")

    await page.get_by_role("button", name="Add node").click()
    await page.get_by_label("Hostname").fill("odm-small.example.org")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("#add-dialog .problem")).to_have_text("odm-small.example.org:3000 is registered already")
    await picture(page, "add")
    await page.get_by_label("Hostname").fill("odm-new.example.org")
    await page.get_by_label("Token").fill("s3cret")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(nodes).to_have_count(6)
    assert scheduler.tokens[scheduler.nodes[5].id] == "s3cret"
    assert "s3cret" not in await page.content()

    await nodes.nth(5).get_by_role("button", name="Delete").click()
    await expect(page.locator("#ask-text")).to_contain_text("odm-new.example.org:3000")
    await picture(page, "delete")
    await page.get_by_role("button", name="Back").click()
    assert len(scheduler.nodes) == 6
    await nodes.nth(5).get_by_role("button", name="Delete").click()
    await page.locator("#ask-dialog .danger").click()
    await expect(nodes).to_have_count(5)

    await tasks.first.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel task").click()
    await expect(tasks.filter(has_text=IDS[4])).to_contain_text("canceled")
    assert scheduler.tasks[4].state is TaskState.CANCELED

    await page.get_by_role("button", name="Failed").click()
    await expect(tasks).to_have_count(1)
    await expect(tasks).to_contain_text("Cannot process dataset")


async def test_the_page_follows_the_cluster_and_keeps_its_rows(page: Page, scheduler: FakeScheduler):
    first = page.locator("#nodes tbody tr").first
    await first.evaluate("row => row.mark = 'kept'")
    scheduler.change(scheduler.nodes[0], online=False, trouble="connection refused")
    await expect(first).to_contain_text("connection refused")
    assert await first.evaluate("row => row.mark") == "kept"
    scheduler.nodes = []
    scheduler.tasks = []
    await expect(page.locator("#no-nodes")).to_be_visible()
    await expect(page.locator("#no-tasks")).to_be_visible()
    await picture(page, "empty")


async def test_machines_are_shown_held_back_and_destroyed_where_there_is_an_autoscaler(page: Page, nats_bus: NatsBus):
    await expect(page.locator("#nodes tbody tr")).to_have_count(5)
    await expect(page.locator("#machines-card")).to_be_hidden()
    autoscaler = FakeAutoscaler()
    async with nats_bus.serve("autoscaler", autoscaler.handlers()):
        rows = page.locator("#machines tbody tr")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("s-2vcpu-2gb in sfo2")
        if PICTURES:
            await page.screenshot(path=f"{PICTURES}/machines.png", full_page=True)
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert autoscaler.paused == ""
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await rows.nth(1).get_by_role("button", name="Destroy").click()
        await page.locator("#ask-dialog").get_by_role("button", name="Destroy").click()
        await expect(page.locator("#ask-dialog")).to_be_hidden()
        assert autoscaler.destroyed == [autoscaler.machines[1].machine.id]
