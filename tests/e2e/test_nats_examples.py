"""docs/examples/nats as they stand there, against a cluster: programs that have NATS_URL and nothing else."""

import asyncio
import json
import os
import re
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import make_images
from tests.e2e.up import REPOSITORY, Up
from tests.served_zip import served_zip

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "docs" / "examples" / "nats"
SOON_S = 40


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A cluster with one simulated node and two proxies."""
    with Up(tmp_path_factory.mktemp("up") / "data", "--demo", "--demo-nodes-count=1", "--proxies=2") as cluster:
        yield cluster


def url_of(up: Up) -> str:
    """Do as the documents say."""
    facts: dict[str, Any] = json.loads((up.data_dir / "cluster.json").read_text())
    return str(facts["integration_url"])


@asynccontextmanager
async def program(up: Up, folder: Path, name: str, *words: str) -> AsyncIterator[Process]:
    """Run one of the examples."""
    environment = {**os.environ, "NATS_URL": url_of(up)}
    running = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *words, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def said(process: Process, words: Sequence[str]) -> str:
    """Wait for a line that begins so."""
    assert process.stdout
    async with asyncio.timeout(SOON_S):
        while line := (await process.stdout.readline()).decode():
            if line.startswith(tuple(words)):
                return line.strip()
    raise AssertionError(f"it ended without {words}")


async def test_a_task_is_submitted_and_followed_over_nats_alone(up: Up, tmp_path: Path):
    async with (
        served_zip(tmp_path, make_images(tmp_path / "images", 3)) as address,
        program(up, tmp_path, "process.py", "North field", address, "dsm=true") as running,
    ):
        out, err = await asyncio.wait_for(running.communicate(), SOON_S)
    lines = out.decode().splitlines()
    assert (running.returncode, err) == (0, b"")
    assert lines[-1] == "completed"
    assert any(line.startswith(("placed", "started")) for line in lines), "what events tell"
    assert any(line.startswith("  Accepted by the cluster") for line in lines), "the console"


async def test_what_no_node_could_process_is_refused_with_the_reason(up: Up, tmp_path: Path):
    async with program(up, tmp_path, "process.py", "North field", "ftp://photos.example/field.zip") as running:
        _, err = await asyncio.wait_for(running.communicate(), SOON_S)
    assert running.returncode == 2
    assert err.startswith(b"zip_url is no address")


async def test_a_program_is_run_for_each_task_that_ends_also_for_those_that_ended_while_nobody_listened(
    up: Up, tmp_path: Path
):
    async with served_zip(tmp_path, make_images(tmp_path / "images", 2)) as address:

        async def ends(name: str) -> str:
            async with program(up, tmp_path, "process.py", name, address) as running:
                task = (await said(running, ["task "])).split()[1]
                await asyncio.wait_for(running.communicate(), SOON_S)
            return task

        async with program(up, tmp_path, "finished.py", "echo") as listener:
            await said(listener, ["listening"])
            first = await ends("first")
            assert await said(listener, [first]) == f"{first} completed"
        second = await ends("second")
        async with program(up, tmp_path, "finished.py", "echo") as listener:
            await said(listener, ["listening"])
            third = await ends("third")
            assert [await said(listener, [first, second, third]) for _ in range(2)] == [
                f"{second} completed",
                f"{third} completed",
            ]


def test_what_stands_in_the_documents_runs(up: Up, tmp_path: Path):
    """Each request of docs/subjects.md for the `nats` program, asked by the program that stands below it."""
    document = (REPOSITORY / "docs" / "subjects.md").read_text()
    [program_text] = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    (tmp_path / "ask.py").write_text(program_text)
    asked = re.findall(r"^nats --inbox-prefix _INBOX.integration req clusterodm\.(\S+) '(.*)'$", document, re.MULTILINE)
    assert [name for name, _ in asked] == ["scheduler.list_nodes", "scheduler.search_tasks", "scheduler.read_console"]
    for name, message in asked:
        environment = {**os.environ, "NATS_URL": url_of(up)}
        ran = subprocess.run(
            [sys.executable, "ask.py", name, message],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SOON_S,
            check=True,
        )
        assert ran.stdout.startswith("{") or ran.stdout.endswith(" not found\n")
        assert "token" not in ran.stdout.replace("has_token", "")


def test_the_address_is_readable_by_its_owner_alone(up: Up):
    assert (up.data_dir / "cluster.json").stat().st_mode & 0o077 == 0
    assert (up.data_dir / "nats" / "token").stat().st_mode & 0o077 == 0
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert url_of(up).partition("@")[0].rpartition(":")[2] not in listed
