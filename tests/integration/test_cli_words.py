"""The operators' words on the command line: real processes against a scheduler on a real bus."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from tests.fake_scheduler import FakeScheduler, node, task

RUNNING = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
OTHER = "6f9619ff-8b86-4011-b42d-00c04fc964aa"
PROGRAM = "import sys; from clusterodm.services.admin.cli.api.program import main; sys.exit(main(sys.argv[1:]))"

LOADED = (
    "import sys; from clusterodm.deploy.cli import main; main(sys.argv[1:]);"
    " sys.stderr.write(' '.join({'asyncio', 'nats', 'structlog'} & set(sys.modules)))"
)
"""Carries out a word, and says what it should not have loaded."""


@dataclass
class Said:
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def run(
    *words: str, stdin: str = "", program: str = PROGRAM, encoding: str = "utf-8", **environment: str
) -> Said:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("CLUSTERODM_")} | environment,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin.encode())
    return Said(process.returncode or 0, out.decode(encoding), err.decode(encoding))


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1), node(2, port=4002, locked=True, online=False, info=None, trouble="refused")]
    fake.tasks = [task(RUNNING, on=fake.nodes[0]), task("w1", TaskState.WAITING, waiting_because="all nodes are busy")]
    fake.consoles = {RUNNING: ("one", "two", "three")}
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


Call = Callable[..., Awaitable[Said]]


@pytest.fixture
def call(nats_url: str, scheduler: FakeScheduler) -> Call:
    """Run a command against the cluster."""

    async def with_url(*words: str, stdin: str = "") -> Said:
        return await run(*words, "--nats-url", nats_url, stdin=stdin)

    return with_url


async def test_nodes_are_a_table_for_people_and_json_for_programs(call: Call):
    table = await call("node", "list")
    assert (table.code, table.err) == (0, "")
    lines = table.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("N  NODE")
    assert lines[1].index("127.0.0.1:4001") == lines[0].index("NODE")
    assert "offline (refused), locked" in lines[2]
    assert [each["name"] for each in (await call("node", "list", "--json")).json] == [
        "127.0.0.1:4001",
        "127.0.0.1:4002",
    ]


async def test_a_node_is_added_locked_unlocked_and_deleted(call: Call, scheduler: FakeScheduler):
    assert (await call("node", "add", "localhost", "4003")).out == "OK\n"
    again = await call("node", "add", "localhost", "4003")
    assert (again.code, again.out, again.err) == (1, "", "localhost:4003 is registered already\n")
    assert (await call("node", "lock", "3", "--json")).json == {"success": True}
    assert scheduler.nodes[2].locked
    assert (await call("node", "unlock", "3")).code == 0
    assert not scheduler.nodes[2].locked
    assert (await call("node", "info", "3")).json["port"] == "4003"
    assert (await call("node", "del", "3")).code == 0
    missing = await call("node", "del", "3", "--json")
    assert (missing.code, missing.json) == (1, {"success": False, "error": "there is no such node"})
    assert (await call("node", "update")).out == "OK\n"
    assert "127.0.0.1:4001" in (await call("node", "best", "20")).out


async def test_a_token_need_not_stand_on_the_command_line(call: Call, scheduler: FakeScheduler, tmp_path: Path):
    (tmp_path / "token").write_text("from a file\n")
    assert (await call("node", "add", "a", "1", "--token-file", str(tmp_path / "token"))).code == 0
    assert (await call("node", "add", "b", "1", "--token-file", "-", stdin="from stdin\n")).code == 0
    assert (await call("node", "add", "c", "1", "argument")).code == 0
    assert [scheduler.tokens[each.id] for each in scheduler.nodes[2:]] == ["from a file", "from stdin", "argument"]
    assert (await call("node", "add", "d", "1", "x", "--token-file", "-")).code == 2
    assert (await call("node", "add", "d", "1", "--token-file", str(tmp_path / "none"))).code == 2


async def test_a_file_with_a_token_that_others_may_read_is_taken_with_a_warning(
    call: Call, scheduler: FakeScheduler, shared_folder: Path
):
    path = shared_folder / "token"
    path.write_text("from a file")
    path.chmod(0o644)
    said = await call("node", "add", "a", "1", "--token-file", str(path))
    wanted = f"clusterodm: warning: {path}: other users may read it: chmod 600 {path}\n"
    assert (said.code, said.err, scheduler.tokens[scheduler.nodes[-1].id]) == (0, wanted, "from a file")
    path.chmod(0o600)
    assert (await call("node", "add", "b", "1", "--token-file", str(path))).err == ""


async def test_tasks_and_routes(call: Call, scheduler: FakeScheduler):
    table = (await call("task", "list")).out
    assert "waiting (1)" in table
    assert "all nodes are busy" in table
    assert [each["uuid"] for each in (await call("task", "list", "1", "--json")).json] == [RUNNING]
    assert (await call("task", "info", RUNNING)).json["status"] == {"code": 20}
    assert (await call("task", "output", RUNNING)).out == "one\ntwo\nthree\n"
    assert (await call("task", "output", RUNNING, "-2", "--json")).json == ["two", "three"]
    assert RUNNING in (await call("route", "list")).out
    assert (await call("route", "info", RUNNING)).json["node"]["port"] == "4001"
    assert (await call("task", "cancel", RUNNING)).json == {"success": True}
    assert scheduler.tasks[0].state is TaskState.CANCELED
    assert (await call("task", "cancel", RUNNING)).code == 1
    assert (await call("task", "remove", RUNNING)).code == 0
    unknown = await call("task", "info", RUNNING)
    assert (unknown.code, unknown.out) == (1, "")


async def test_uploads_are_listed_and_all_of_it_is_asked_without_an_event_loop(
    nats_url: str, nats_bus: NatsBus, scheduler: FakeScheduler
):
    bucket = await nats_bus.bucket(PROGRESS)
    for number in range(3):
        task_id = TaskId(f"upload-{number}")
        told = UploadProgress(task=task_id, instance=InstanceId("p1"), name=f"field {number}", created_at_ms=number)
        await bucket.put(task_id, told)
    await bucket.delete("upload-1")
    listed = await run("task", "list", "--json", "--nats-url", nats_url, program=LOADED)
    assert [each["uuid"] for each in listed.json] == [RUNNING, "w1", "upload-0", "upload-2"]
    assert listed.err == ""
    assert len(scheduler.asked) == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("node",),
        ("node", "foo"),
        ("node", "add", "a"),
        ("node", "add", "a", "0"),
        ("node", "add", "a", "1abc"),
        ("node", "del", "1abc"),
        ("node", "lock"),
        ("node", "list", "extra"),
        ("task", "info"),
        ("task", "output", "x", "y"),
        ("asr", "viewcmd", "many"),
        ("import",),
        ("import", "/nonexistent/nodes.json"),
        ("node", "list", "--nats-url", "http://127.0.0.1:4222"),
        ("node", "list", "--watch", "--nats-url", "127.0.0.1:port"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_exit_code_2_and_a_line_on_stderr(words: tuple[str, ...]):
    said = await run(*words, CLUSTERODM_NATS_URL="nats://127.0.0.1:1")
    assert (said.code, said.out) == (2, "")
    assert said.err
    assert "Traceback" not in said.err


async def test_a_wrong_address_of_nats_in_the_environment_is_named_and_not_repeated():
    said = await run("node", "list", CLUSTERODM_NATS_URL="https://s3cret@h")
    wanted = "clusterodm: CLUSTERODM_NATS_URL should be nats://HOST:PORT or tls://HOST:PORT, not https://; several have commas between them\n"
    assert (said.code, said.err) == (2, wanted)


@pytest.mark.parametrize("words", [("node", "--help"), ("node", "add", "--help"), ("import", "-h")])
async def test_help_explains_the_exit_codes(words: tuple[str, ...]):
    said = await run(*words)
    assert said.code == 0
    assert "3 the cluster does not answer" in " ".join(said.out.split())


WHOLE_PROGRAM = "import sys; from clusterodm.deploy.cli import main; sys.exit(main(sys.argv[1:]))"
NOT_UTF_8 = b"\xff\xe4".decode(errors="surrogateescape")


@pytest.mark.parametrize(
    "words",
    [("task", "info", NOT_UTF_8), ("node", "add", NOT_UTF_8, "3000"), ("asr", "pause", NOT_UTF_8)],
    ids=["asks", "acts", "acts at once"],
)
async def test_a_word_that_is_no_utf_8_is_wrong_usage(nats_url: str, scheduler: FakeScheduler, words: tuple[str, ...]):
    said = await run(*words, "--nats-url", nats_url)
    assert (said.code, said.out, said.err) == (2, "", "clusterodm: a word is no UTF-8\n")
    assert len(scheduler.nodes) == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_terminal_that_has_not_all_letters_gets_the_escapes_of_those(
    nats_url: str, scheduler: FakeScheduler, encoding: str
):
    scheduler.tasks[1] = task("w1", TaskState.WAITING, name="Häuser 東")
    words = ("task", "list", "--nats-url", nats_url)
    said = await run(*words, program=WHOLE_PROGRAM, encoding=encoding, PYTHONIOENCODING=encoding)
    assert (said.code, said.err) == (0, "")
    assert ("Häuser \\u6771" if encoding == "latin-1" else "H\\xe4user \\u6771") in said.out


async def test_the_cluster_is_found_by_flag_environment_and_file(
    nats_url: str, scheduler: FakeScheduler, tmp_path: Path
):
    (tmp_path / "cluster.json").write_text(json.dumps({"nats_url": nats_url}))
    dead = "nats://127.0.0.1:1"
    assert (await run("node", "list", "--data-dir", str(tmp_path), CLUSTERODM_NATS_URL=dead)).code == 0
    assert (await run("node", "list", CLUSTERODM_DATA_DIR=str(tmp_path))).code == 0
    assert (await run("node", "list", CLUSTERODM_NATS_URL=nats_url)).code == 0
    assert (await run("node", "list", "--nats-url", nats_url, CLUSTERODM_NATS_URL=dead)).code == 0
    assert len(scheduler.nodes) == 2


@pytest.mark.slow
async def test_a_cluster_that_does_not_answer_is_exit_code_3(nats_url: str, tmp_path: Path):
    nowhere, no_nats, no_scheduler = await asyncio.gather(
        run("node", "list", "--data-dir", str(tmp_path)),
        run("node", "list", "--nats-url", "nats://s3cret@127.0.0.1:1"),
        run("node", "list", "--nats-url", nats_url),
    )
    assert {nowhere.code, no_nats.code, no_scheduler.code} == {3}
    assert "no running cluster" in nowhere.err
    assert "no NATS" in no_nats.err
    assert no_scheduler.err == "The scheduler does not answer.\n"
    assert "s3cret" not in no_nats.err
    for said in (nowhere, no_nats, no_scheduler):
        assert len(said.err.splitlines()) == 1


async def test_a_damaged_cluster_file_is_said(tmp_path: Path):
    (tmp_path / "cluster.json").write_text("{}")
    said = await run("node", "list", "--data-dir", str(tmp_path))
    assert said.code == 2
    assert "is damaged" in said.err


class TestImport:
    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[str, str]:
        nodes = [
            {"hostname": "127.0.0.1", "port": "4001", "token": ""},
            {"hostname": "old", "port": "3000", "token": "s3cret", "locked": True},
            {"hostname": "10.0.0.9", "port": 3000, "token": "x", "dockerMachine": {"name": "m"}},
        ]
        on_old = {"hostname": "old", "port": "3000", "token": "s3cret"}
        routes = {OTHER: {"node": on_old, "token": "client", "accessed": 4_000_000_000_000}}
        for name, content in (("nodes.json", nodes), ("routes.json", routes)):
            (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path / "nodes.json"), str(tmp_path / "routes.json")

    async def test_an_installation_is_taken_over(self, call: Call, scheduler: FakeScheduler, files: tuple[str, str]):
        said = await call("import", *files)
        assert (said.code, said.err) == (0, "")
        assert said.out.splitlines() == [
            "node 127.0.0.1:4001: skipped, exists already",
            "node old:3000: imported",
            "node 10.0.0.9:3000: skipped, machines belong to the autoscaler",
            f"task {OTHER}: imported",
            "nodes: 1 imported, 2 skipped, 0 failed; tasks: 1 imported, 0 skipped, 0 failed",
        ]
        old = scheduler.nodes[-1]
        assert (old.hostname, old.locked, scheduler.tokens[old.id]) == ("old", True, "s3cret")
        assert scheduler.owner_of(OTHER) == owner_of("client")

    async def test_again_it_changes_nothing(self, call: Call, scheduler: FakeScheduler, files: tuple[str, str]):
        await call("import", *files)
        again = await call("import", *files, "--json")
        assert again.code == 0
        assert again.json["nodes"] == {"taken": 0, "skipped": 3, "failed": 0}
        assert again.json["tasks"] == {"taken": 0, "skipped": 1, "failed": 0}
        assert len(scheduler.nodes) == 3

    async def test_with_a_mistake_nothing_is_imported(self, call: Call, scheduler: FakeScheduler, tmp_path: Path):
        (tmp_path / "nodes.json").write_text(
            json.dumps([{"hostname": "good", "port": 1}, {"hostname": "bad", "port": "x", "token": "s3cret"}, 5])
        )
        said = await call("import", str(tmp_path / "nodes.json"))
        assert said.code == 2
        assert [line.partition("nodes.json: ")[2] for line in said.err.splitlines()[1:]] == [
            "entry 2: port 'x' is none (1 to 65535)",
            "entry 3: is no object",
        ]
        assert "s3cret" not in said.err
        assert len(scheduler.nodes) == 2
