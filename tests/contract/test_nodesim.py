"""What the simulated node does beyond NodeODM: its knobs, its event log, its life as a process."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.contract.node_under_test import NodeUnderTest, part
from tests.contract.world import World
from tests.waiting import until_sync

Start = Callable[..., tuple[NodeSimProcess, NodeUnderTest]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start nodes with these knobs; they are fast unless told otherwise."""
    started: list[tuple[NodeSimProcess, NodeUnderTest]] = []

    def begin(**knobs: Any) -> tuple[NodeSimProcess, NodeUnderTest]:
        process = NodeSimProcess(**{"task_time_s": 0.0, **knobs})
        process.start()
        started.append((process, NodeUnderTest(process.url, process.token)))
        return started[-1]

    yield begin
    for process, client in started:
        client.http.close()
        process.close()


def manifest(client: NodeUnderTest, uuid: str) -> dict[str, Any]:
    """Read what the node says that it processed."""
    answer = client.http.get(f"/task/{uuid}/download/all.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return json.loads(archive.read("nodesim.json"))


def names(process: NodeSimProcess, uuid: str) -> list[str]:
    """Return the kinds of a task's events."""
    return [event["event"] for event in process.events(task=uuid)]


def started(process: NodeSimProcess, client: NodeUnderTest) -> str:
    """Commit a task and wait until it runs: of two whose files are put in place at the same time, either may be the first."""
    uuid = client.committed()
    until_sync(lambda: process.events("task_started", task=uuid))
    return uuid


# What was processed


def test_all_zip_proves_which_bytes_were_processed(start: Start) -> None:
    _, client = start()
    files = {f"{number}.jpg": os.urandom(50_000 + number) for number in range(4)} | {"gcp_list.txt": b"EPSG:4326\n"}
    uuid = client.begun()
    for name, content in files.items():
        client.upload(uuid, (name, content))
    client.commit(uuid)
    client.until_ended(uuid)
    proof = manifest(client, uuid)
    assert {entry["name"]: entry["sha256"] for entry in proof["images"] + proof["gcp"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


def test_a_doubled_file_gets_an_underscore_and_a_cut_one_is_short(start: Start) -> None:
    process, client = start()
    uuid = client.begun()
    client.upload(uuid, ("IMG.JPG", b"one"))
    client.upload(uuid, ("IMG.JPG", b"two"))
    client.upload(uuid, ("body.json", b"three"))
    client.raw(f"/task/new/upload/{uuid}", part("images", bytes(5000), "cut.jpg")[:-2], cut=True)
    until_sync(lambda: len(process.events("file_stored")) == 4)
    client.commit(uuid)
    client.until_ended(uuid)
    sizes = {entry["name"]: entry["size"] for entry in manifest(client, uuid)["images"]}
    assert sizes.pop("cut.jpg") in range(1, 5001)
    assert sizes == {"IMG.JPG": 3, "IMG_.JPG": 3, "_body.json": 5}


def test_two_files_of_one_name_in_one_request_are_both_kept_once_the_first_is_on_disk(start: Start) -> None:
    _, client = start()
    uuid = client.begun()
    client.upload(uuid, ("a.jpg", bytes(300_000)), ("a.jpg", b"x"))
    client.commit(uuid)
    assert client.until_ended(uuid)["imagesCount"] == 2


def test_a_name_with_a_nul_is_refused_and_the_node_lives(start: Start) -> None:
    _, client = start()
    uuid = client.begun()
    answer = client.raw(f"/task/new/upload/{uuid}", part("images", b"x", "a\0b.jpg") + b"--B--\r\n")
    assert "error" in answer
    assert "version" in client.get("/info")


# The event log


def test_the_event_log_tells_a_tasks_life(start: Start) -> None:
    process, client = start()
    uuid = client.committed(["a.jpg", "b.jpg"])
    client.until_ended(uuid)
    client.act("remove", uuid)
    assert names(process, uuid) == [
        "task_initialised",
        "file_stored",
        "file_stored",
        "task_committed",
        "task_queued",
        "task_started",
        "task_finished",
        "task_canceled",
        "task_removed",
    ]
    stored = process.events("file_stored")
    assert [event["file"] for event in stored] == ["a.jpg", "b.jpg"]
    assert all(event["complete"] and len(event["sha256"]) == 64 and event["size"] == 2000 for event in stored)
    times = [event["at_ms"] for event in process.events()]
    assert times == sorted(times)


# Time


@pytest.mark.slow
def test_time_per_task_and_image_is_kept_and_progress_grows(start: Start) -> None:
    _, client = start(task_time_s=3.0, image_time_s=0.5, console_lines_per_s=100)
    uuid = client.committed(["a.jpg", "b.jpg", "c.jpg"])
    early = client.until(uuid, lambda info: info["progress"] > 0)
    lines = len(client.get(f"/task/{uuid}/output"))
    info = client.until_ended(uuid)
    assert early["progress"] < 100
    assert 4500 <= info["processingTime"] < 9000
    assert len(client.get(f"/task/{uuid}/output")) > lines


@pytest.mark.slow
def test_a_slow_initialisation_shows_as_running_before_queued(start: Start) -> None:
    process, client = start(init_time_s=4.0, task_time_s=60)
    started(process, client)
    uuid = client.committed()
    assert client.info(uuid)["status"] == {"code": 20}
    client.until(uuid, lambda info: info["status"] == {"code": 10})


def test_several_tasks_run_side_by_side(start: Start) -> None:
    process, client = start(parallel_tasks=2, task_time_s=60)
    uuids = [started(process, client), started(process, client), client.committed()]
    client.until(uuids[2], lambda info: info["status"]["code"] == 10)
    until_sync(lambda: len(process.events("task_started")) == 2)
    client.act("cancel", uuids[0])
    until_sync(lambda: [event["task"] for event in process.events("task_started")] == uuids)


# Failures


def test_tasks_fail_as_often_as_they_are_told(start: Start) -> None:
    process, client = start(fail_next_count=1, fail_message="Not enough memory")
    first, second = started(process, client), client.committed()
    assert client.until_ended(first)["status"] == {"code": 30, "errorMessage": "Not enough memory"}
    assert client.until_ended(second)["status"] == {"code": 40}
    process.set(fail_all=True, fail_message="Cannot process dataset")
    for uuid in (client.committed(), client.committed()):
        assert client.until_ended(uuid)["status"] == {"code": 30, "errorMessage": "Cannot process dataset"}


def test_a_large_task_runs_out_of_memory(start: Start) -> None:
    _, client = start(out_of_memory_images=2)
    small, large = client.committed(["a", "b"]), client.committed(["a", "b", "c"])
    assert client.until_ended(small)["status"] == {"code": 40}
    assert client.until_ended(large)["status"] == {"code": 30, "errorMessage": "Not enough memory"}


def test_a_dropped_upload_is_answered_500_and_stores_nothing(start: Start) -> None:
    process, client = start(drop_upload_next_count=1)
    uuid = client.begun()
    assert client.http.post(f"/task/new/upload/{uuid}", files=[("images", ("a", b"x"))]).status_code == 500
    assert client.upload(uuid, ("a", b"x")) == {"success": True}
    assert names(process, uuid) == ["task_initialised", "upload_dropped", "file_stored"]


@pytest.mark.parametrize(
    ("how", "sizes"), [("reset-before", []), ("reset-midway", range(1, 60_000)), ("reset-after", [60_000])]
)
def test_a_connection_can_be_reset_before_midway_and_after(start: Start, how: str, sizes: Any) -> None:
    process, client = start(drop_upload_next_count=1, drop_how=how)
    uuid = client.begun()
    with pytest.raises(httpx.TransportError):
        client.upload(uuid, ("a.jpg", bytes(60_000)))
    if sizes:
        until_sync(lambda: process.events("file_stored"))
    stored = process.events("file_stored")
    assert len(stored) == (1 if sizes else 0)
    assert all(event["size"] in sizes and event["complete"] == (how == "reset-after") for event in stored)


def test_the_answer_to_a_commit_can_be_lost(start: Start) -> None:
    _, client = start(drop_commit_next_count=1, drop_how="reset-after")
    uuid = client.begun()
    client.upload(uuid, ("a", b"x"))
    with pytest.raises(httpx.TransportError):
        client.commit(uuid)
    assert client.commit(uuid) == {"error": "Invalid uuid (not found)"}
    assert client.until_ended(uuid)["status"] == {"code": 40}


def test_uploads_can_be_dropped_at_random(start: Start) -> None:
    process, client = start(drop_upload_part=0.5)
    uuid = client.begun()
    for number in range(40):
        client.http.post(f"/task/new/upload/{uuid}", files=[("images", (f"{number}", b"x"))])
    assert len(process.events("upload_dropped")) in range(5, 36)


def test_answers_can_be_delayed(start: Start) -> None:
    _, client = start(answer_delay_s=0.2)
    began_s = time.monotonic()
    client.get("/info")
    assert time.monotonic() - began_s > 0.19


def test_a_frozen_node_answers_nothing_until_it_is_thawed(start: Start) -> None:
    process, client = start()
    process.set(frozen=True)
    with pytest.raises(httpx.ReadTimeout):
        client.http.get("/info", timeout=0.2)
    process.set(frozen=False)
    assert "version" in client.get("/info")


def test_a_stopped_process_accepts_and_never_answers(start: Start) -> None:
    process, client = start()
    process.freeze()
    with pytest.raises(httpx.ReadTimeout):
        client.http.get("/info", timeout=0.2)
    process.thaw()
    assert "version" in client.get("/info")


def test_settings_can_be_seen_and_wrong_ones_are_refused(start: Start) -> None:
    process, client = start(token="t k")
    assert process.set(task_time_s=3)["task_time_s"] == 3
    assert client.get("/sim/settings")["task_time_s"] == 3
    assert "error" in client.get("/sim/settings", params={"token": "wrong"})
    for wrong in ({"nope": 1}, {"port": 1}, {"task_time_s": "x"}, {"parallel_tasks": 0}, {"drop_how": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", ".")):
            process.set(**wrong)
    assert client.get("/info")["maxParallelTasks"] == 1


# Webhooks


def test_a_webhook_of_the_node_hears_of_every_task_that_ran(start: Start, world: World) -> None:
    process, client = start(webhook=f"{world.url}/node", task_time_s=60)
    uuid = client.committed(webhook=f"{world.url}/task")
    until_sync(lambda: process.events("task_started"))
    client.act("cancel", uuid)
    heard = dict(world.posted.get(timeout=5) for _ in range(2))
    assert set(heard) == {"/node", "/task"}
    assert heard["/node"]["status"] == {"code": 50}


def test_a_webhook_is_tried_six_times(start: Start, world: World) -> None:
    world.refuse_next_count = 6
    _, client = start(webhook_retry_s=0.01)
    client.committed(webhook=f"{world.url}/hook")
    for _ in range(6):
        world.posted.get(timeout=5)
    client.committed(webhook=f"{world.url}/later")
    path, _ = world.posted.get(timeout=10)
    assert path == "/later"


# Downloads


def test_ranges_are_honoured_when_asked_for(start: Start) -> None:
    _, client = start(download_ranges=True)
    uuid = client.committed()
    client.until_ended(uuid)
    path = f"/task/{uuid}/download/all.zip"
    whole = client.http.get(path)
    assert whole.headers["accept-ranges"] == "bytes"
    piece = client.http.get(path, headers={"Range": "bytes=5-"})
    assert (piece.status_code, piece.content) == (206, whole.content[5:])
    assert piece.headers["content-range"] == f"bytes 5-{len(whole.content) - 1}/{len(whole.content)}"
    beyond = client.http.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


@pytest.mark.slow
def test_large_files_go_through_in_constant_memory(start: Start) -> None:
    process, client = start(result_size_mb=200)
    peak_before = peak_mb(process.pid)
    uuid = client.begun()
    block = bytes(1024 * 1024)

    def body() -> Iterator[bytes]:
        yield part("images", b"", "large.tif")[:-2]
        for _ in range(200):
            yield block
        yield b"\r\n--B--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    assert client.post(f"/task/new/upload/{uuid}", content=body(), headers=headers) == {"success": True}
    client.commit(uuid)
    client.until_ended(uuid)
    with client.http.stream("GET", f"/task/{uuid}/download/all.zip") as answer:
        assert sum(len(chunk) for chunk in answer.iter_raw(1024 * 1024)) > 200 * 1024 * 1024
    assert peak_mb(process.pid) - peak_before < 60


def peak_mb(pid: int) -> float:
    """Return the most memory that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


# The process


def test_tasks_go_on_after_a_clean_stop(start: Start) -> None:
    process, client = start(task_time_s=0.0)
    done = client.committed(name="done")
    client.until_ended(done)
    process.set(task_time_s=60)
    running, waiting, begun = client.committed(), client.committed(), client.begun()
    client.upload(begun, ("a", b"x"))
    until_sync(lambda: len(process.events("task_started")) == 2)
    process.restart()
    info = client.info(done, with_output=0)
    assert (info["status"], info["name"], info["processingTime"], info["output"]) == ({"code": 40}, "done", -1, [])
    assert client.http.head(f"/task/{done}/download/all.zip").status_code == 200
    until_sync(lambda: len(process.events("task_started")) == 3)
    assert [client.info(uuid)["status"]["code"] for uuid in (running, waiting)] == [20, 10]
    assert client.upload(begun, ("b", b"x")) == {"success": True}
    assert client.commit(begun) == {"uuid": begun}


def test_tasks_and_their_data_are_forgotten_after_a_kill(start: Start) -> None:
    process, client = start()
    uuid = client.committed()
    client.until_ended(uuid)
    process.kill()
    assert not process.alive
    process.start()
    assert client.info(uuid) == {"error": f"{uuid} not found"}
    assert list((process.data_dir / "data").iterdir()) == []


def test_tasks_can_be_forgotten_on_demand(start: Start) -> None:
    process, client = start(task_time_s=60)
    uuid = client.committed()
    process.forget()
    assert client.info(uuid) == {"error": f"{uuid} not found"}
    assert client.get("/task/list") == []
    fresh = client.committed()
    client.until(fresh, lambda info: info["status"]["code"] == 20)


def test_old_tasks_are_removed(start: Start) -> None:
    _, client = start(keep_tasks_s=1)
    uuid = client.committed()
    client.until(uuid, lambda info: "error" in info)


def test_a_node_starts_quickly_and_stops_with_0(start: Start) -> None:
    before = os.times()
    process, _ = start()
    assert process.stop() == 0
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2.0


async def test_a_node_can_be_had_without_blocking_the_loop() -> None:
    async with NodeSimProcess() as process, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{process.url}/info")).status_code == 200
    assert not process.alive


def test_a_node_ends_with_its_parent() -> None:
    program = (
        "from clusterodm.libs.nodesim.testing import NodeSimProcess\n"
        "import os\n"
        "node = NodeSimProcess()\n"
        "node.start()\n"
        "print(node.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pid = int(ran.stdout)
    until_sync(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_no_token_shows_in_the_list_of_processes(start: Start) -> None:
    process, client = start(token="hush")
    assert "version" in client.get("/info")
    assert b"hush" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--port", "x"], 2, "--port"),
        (["--nope"], 2, "--nope"),
        (["--task-time-s", "-1"], 2, "--task-time-s"),
        (["--port", "70000"], 2, "--port"),
        (["--drop-how", "x"], 2, "--drop-how"),
        (["--drop-upload-part", "2"], 2, "--drop-upload-part"),
        (["--host", "256.0.0.1", "--port", "0"], 1, "256.0.0.1"),
        (["--port", "0", "--data-dir", "/dev/null/x"], 1, "/dev/null"),
    ],
)
def test_wrong_settings_are_one_line_and_an_exit_code(arguments: list[str], code: int, words: str) -> None:
    ran = nodesim(*arguments)
    assert ran.returncode == code
    assert words in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_port_in_use_is_one_line_and_exit_code_1(start: Start) -> None:
    process, _ = start()
    ran = nodesim("--port", str(process.port))
    assert ran.returncode == 1
    assert ran.stderr == f"nodesim: port {process.port} on 127.0.0.1 is in use\n"


def test_help_names_every_setting() -> None:
    ran = nodesim("--help")
    assert ran.returncode == 0
    assert all(name in ran.stdout for name in ("--task-time-s", "--drop-how", "--event-log", "/sim/settings"))


def nodesim(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the program until it ends by itself."""
    command = [sys.executable, "-m", "clusterodm.libs.nodesim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
