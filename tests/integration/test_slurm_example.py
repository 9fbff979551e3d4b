"""docs/examples/slurm as it stands there, against a SLURM of our own."""

import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.asr_files import OUTSIDE
from tests.example_programs import EXAMPLES, NAME, PREFIX, TOKEN, order, provided
from tests.integration import fake_slurm
from tests.waiting import until

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "slurm"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A SLURM; the folder of its state."""
    folder = tmp_path / "slurm"
    programs = fake_slurm.install(folder)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTERODM_SLURM_FOLDER", str(tmp_path / "shared"))
    monkeypatch.setenv("CLUSTERODM_HOST", "127.0.0.1")
    monkeypatch.setenv("CLUSTERODM_LEASE_CHECK_S", "1")
    yield folder
    for job in {each["name"] for each in fake_slurm.jobs(folder)}:
        fake_slurm.scancel(folder, ["--me", f"--name={job}"])


@pytest.fixture
async def provider(slurm: Path, tmp_path: Path) -> AsyncIterator[BootedProvider]:
    async with provided(EXAMPLE, tmp_path) as found:
        yield found


def test_the_example_configuration_is_one():
    text = (EXAMPLE / "asr-slurm.json").read_text()
    found = parse(text, OUTSIDE)
    assert found.provider == "command"
    sizes = json.loads((EXAMPLE / "sizes.json").read_text())
    assert {size.slug for size in found.limits.sizes} == set(sizes)
    assert {Path(words[0]).name for words in found.cloud.commands.values()} == {"create.py", "list.py", "destroy.py"}


async def test_a_job_becomes_a_node_that_answers_and_is_gone_when_cancelled(provider: BootedProvider, slurm: Path):
    await provider.check()
    up = await provider.set_up(order(), await provider.create(order()))
    async with httpx.AsyncClient(base_url=f"http://{up.address}:{up.port}", timeout=5) as node:
        assert "version" in (await node.get("/info", params={"token": TOKEN})).json()
    assert [each.name for each in await provider.list(PREFIX)] == [NAME]
    (job,) = fake_slurm.jobs(slurm)
    assert (await provider.create(order())).ref == str(job["number"])
    assert "--mem=32G" in job["words"]
    assert TOKEN not in json.dumps(job)
    await provider.destroy(NAME, up.ref)
    assert fake_slurm.jobs(slurm) == []
    assert not (slurm.parent / "shared" / NAME).exists()
    assert await provider.inspect(NAME) is None


async def test_the_files_of_a_job_are_for_its_user_alone(provider: BootedProvider, slurm: Path):
    (slurm / "pending").touch()
    await provider.create(order())
    folder = slurm.parent / "shared" / NAME
    assert folder.stat().st_mode & 0o077 == 0
    assert [file.name for file in folder.iterdir() if file.stat().st_mode & 0o077] == []


async def test_a_job_that_waits_exists_and_has_no_address(provider: BootedProvider, slurm: Path):
    (slurm / "pending").touch()
    made = await provider.create(order())
    found = await provider.inspect(NAME)
    assert found is not None
    assert (found.ref, found.address, found.running) == (made.ref, "", False)
    await provider.destroy(NAME, made.ref)
    assert fake_slurm.jobs(slurm) == []


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        pytest.param(
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
            " accounting/QOS policy (job submit limit, user's size and/or time limits)",
            Trouble.OUT_OF_CAPACITY,
            id="limit",
        ),
        pytest.param(
            "sbatch: error: invalid partition specified: bigmem\nsbatch: error: Batch job submission failed:"
            " Invalid partition name specified",
            Trouble.REFUSED,
            id="no such partition",
        ),
        pytest.param(
            "sbatch: error: Unable to contact slurm controller (connect failure)", Trouble.RETRYABLE, id="out of reach"
        ),
        pytest.param(
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            Trouble.UNKNOWN_OUTCOME,
            id="answer lost",
        ),
    ],
)
async def test_what_slurm_says_is_told_apart(provider: BootedProvider, slurm: Path, words: str, trouble: Trouble):
    (slurm / "refuse").write_text(words)
    with pytest.raises(ProviderFailed) as caught:
        await provider.create(order())
    assert caught.value.trouble is trouble


async def test_a_size_without_flags_is_refused(provider: BootedProvider):
    with pytest.raises(ProviderFailed, match="no size 'huge'") as caught:
        await provider.create(order("huge"))
    assert caught.value.trouble is Trouble.REFUSED


async def test_a_job_that_nobody_wants_ends_itself(provider: BootedProvider, slurm: Path):
    told: list[int] = []
    unwanted = threading.Event()

    class Unwanted(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.append(410 if unwanted.is_set() else 200)
            self.send_response(told[-1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_what: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Unwanted)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        wanted = order(lease_url=Secret(f"http://127.0.0.1:{server.server_port}/lease?token=x"), lease_s=2)
        await provider.set_up(wanted, await provider.create(wanted))
        await until(lambda: 200 in told, what="the job to ask")
        unwanted.set()
        await until(lambda: fake_slurm.jobs(slurm) == [], timeout_s=30)
        assert told.count(410) >= 1
        assert await provider.inspect(NAME) is None
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
