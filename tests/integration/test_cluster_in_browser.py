"""What an operator does at a running cluster, in a real browser: real services, simulated nodes and a simulated cloud behind the pages."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.asr_files import simulated_hetzner
from tests.browsing import CHROMIUM, a_browser, visiting
from tests.cluster import Cluster

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]
BOOT_S = 6.0
TASK_S = 8.0
"""Its machine is still there when all of its boot is told."""
OFTEN = {"asr_every_s": 0.2, "asr_reconcile_s": 0.5, "asr_poll_s": 0.1, "asr_check_storage": "false"}


@asynccontextmanager
async def client_of(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cluster.url, timeout=30) as client:
        yield client


async def submitted(client: httpx.AsyncClient, name: str) -> str:
    """Hand in a task with one image; its id."""
    task = str((await client.post("/task/new/init", data={"name": name})).json()["uuid"])
    image = {"images": ("1.jpg", b"x" * 100_000, "image/jpeg")}
    assert (await client.post(f"/task/new/upload/{task}", files=image)).status_code == 200
    assert (await client.post(f"/task/new/commit/{task}")).status_code == 200
    return task


async def act(page: Page, name: str) -> None:
    """Press a button that asks back, and say yes."""
    await page.get_by_role("button", name=name, exact=True).click()
    await page.locator("#ask-yes").click()


async def test_nodes_and_tasks_are_steered(tmp_path: Path):
    async with (
        Cluster(tmp_path) as cluster,
        NodeSimProcess(task_time_s=600) as node,
        client_of(cluster) as client,
        a_browser() as browser,
        visiting(browser, f"http://127.0.0.1:{cluster.web_port}") as page,
    ):
        rows, state = page.locator("table.rows tbody tr"), page.locator(".summary .pill").first
        await page.goto("/nodes")
        await page.get_by_role("button", name="Add node").click()
        await page.get_by_label("Hostname").fill("127.0.0.1")
        await page.get_by_label("Port").fill(str(node.port))
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(rows.first).to_contain_text("online")
        await rows.first.get_by_role("button", name="Lock", exact=True).click()
        await expect(rows.first).to_contain_text("locked")

        task = await submitted(client, "North field")
        await page.goto(f"/tasks/{task}")
        await expect(state).to_have_text("waiting")
        await page.goto("/nodes")
        await rows.first.get_by_role("button", name="Unlock").click()
        await expect(rows.first.get_by_role("button", name="Lock", exact=True)).to_be_visible()
        await page.goto(f"/tasks/{task}")
        await expect(state).to_have_text("running")
        await expect(page.locator("#console")).to_contain_text("Attempt 1: running on 127.0.0.1")
        await act(page, "Cancel")
        await expect(state).to_have_text("canceled")
        await page.get_by_role("button", name="Restart").click()
        await expect(state).to_have_text("running")

        await page.goto("/nodes")
        await rows.first.get_by_role("button", name="Drain").click()
        await page.locator("dialog[open]").get_by_role("button", name="Drain").click()
        await expect(rows.first).to_contain_text("draining")
        await page.goto(f"/tasks/{task}")
        await act(page, "Remove")
        await expect(page).to_have_url(f"http://127.0.0.1:{cluster.web_port}/tasks")
        await page.goto("/nodes")
        await expect(page.locator("#live")).to_contain_text("No nodes yet", timeout=40_000)


async def test_a_machine_comes_tells_how_it_boots_and_goes(tmp_path: Path):
    with CloudApiProcess("hetzner", nodes=True, node={"task_time_s": TASK_S}, boot_s=BOOT_S) as cloud:
        sizes = [{"maxImages": 40, "slug": "cx22", "pricePerHour": 3.6}]
        content = simulated_hetzner(cloud.token, cloud.url, imageSizeMapping=sizes, idleTimeout=6)
        (tmp_path / "asr.json").write_text(json.dumps(content))
        cluster = Cluster(tmp_path / "cluster", asr=tmp_path / "asr.json", **OFTEN)
        cluster._settings["public_address"] = cluster.url
        async with (
            cluster,
            client_of(cluster) as client,
            a_browser() as browser,
            visiting(browser, f"http://127.0.0.1:{cluster.web_port}") as page,
        ):
            state, log = page.locator(".summary .pill").first, page.locator("#console")
            await page.goto("/machines")
            await expect(page.locator("#live")).to_contain_text("No machines")
            await submitted(client, "Far field")
            await page.locator("table.rows tbody tr").first.get_by_role("link").first.click()
            await expect(log).to_contain_text("Cloud-init v. 25.1 running")
            await expect(log).to_contain_text("Pulling from opendronemap/nodeodm")
            await expect(log).to_contain_text("ended with code 0")
            await expect(state).to_have_text("gone", timeout=60_000)
            await expect(page.locator(".timeline")).to_contain_text("online")
            assert await asyncio.to_thread(cloud.here) == []
            name = await page.locator("h1").text_content()
            said = await asyncio.to_thread(telnet, cluster.telnet_port, f"ASR OUTPUT {name} -1")
            assert "ended with code 0" in said


def telnet(port: int, line: str) -> str:
    """Ask as a script does."""
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"{line}\nQUIT\n".encode())
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
