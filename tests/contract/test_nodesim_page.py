"""The page of a simulated node, in a real browser: makes a task, survives dropped uploads, shows, downloads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.contract.node_under_test import NodeUnderTest

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
]


@pytest.fixture
def process() -> Iterator[NodeSimProcess]:
    """A node with a token that must be escaped in an address."""
    with NodeSimProcess(token="t k&", task_time_s=0.3) as started:
        yield started


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Files to upload, of them two by one name."""
    paths = [tmp_path / f"{number}.jpg" for number in range(8)]
    (tmp_path / "card2").mkdir()
    paths.append(tmp_path / "card2" / "0.jpg")
    for number, path in enumerate(paths):
        path.write_bytes(bytes(number + 1))
    return paths


def test_a_task_is_made_shown_and_downloaded(process: NodeSimProcess, images: list[Path]) -> None:
    from playwright.sync_api import sync_playwright

    process.set(drop_upload_next_count=2)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{process.url}/?token=t%20k%26")
        page.set_input_files("#files", images[:5])
        page.set_input_files("#files", images[4:])
        page.fill("#name", "From the page")
        page.click("summary")
        page.fill("#options-filter", "surface model")
        page.select_option("#options .option:not([hidden]) select", "true")
        page.click("#start")
        page.wait_for_selector(".task[data-code='40']")
        page.click(".console-toggle")
        page.wait_for_function("document.querySelector('.console').textContent.includes('Compressing all.zip')")
        with page.expect_download() as download:
            page.click(".download")
        assert download.value.path().read_bytes()[:2] == b"PK"
        with NodeUnderTest(process.url, process.token) as client:
            task = client.get("/task/list")[0]["uuid"]
            info = client.info(task)
        assert (info["name"], info["imagesCount"]) == ("From the page", 9)
        assert {"name": "dsm", "value": True} in info["options"]
        assert sorted(event["size"] for event in process.events("file_stored")) == list(range(1, 10))
        page.click(".remove")
        page.wait_for_selector("#no-tasks", state="visible")
        browser.close()
    assert problems == []


def test_a_refused_upload_is_shown_and_not_tried_again(process: NodeSimProcess, images: list[Path]) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        # An error under 200, as any node answers it, on the way back from the node.
        page.route("**/task/new/upload/**", lambda route: route.fulfill(json={"error": "The disk is full."}))
        page.goto(f"{process.url}/?token=t%20k%26")
        page.set_input_files("#files", images)
        page.click("#start")
        page.wait_for_selector("#problem:not([hidden])")
        assert "The disk is full." in page.inner_text("#problem")
        assert page.inner_text("#chosen-text").startswith("9 files")
        browser.close()
    assert process.events("task_committed") == []
