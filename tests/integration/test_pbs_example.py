"""docs/examples/pbs as it stands there, against a PBS of our own."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.asr_files import OUTSIDE
from tests.example_programs import EXAMPLES, NAME, PREFIX, TOKEN, order, provided
from tests.integration import fake_pbs, fake_slurm
from tests.waiting import until

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "pbs"


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PBS; the folder of its state. Its hosts have apptainer, and not the environment of the login host."""
    folder = tmp_path / "pbs"
    python = Path(sys.executable).parent
    containers = fake_slurm.install(tmp_path / "containers")
    host = {
        "PATH": f"{containers}:{python}:{os.environ['PATH']}",
        "CLUSTERODM_HOST": "127.0.0.1",
        "CLUSTERODM_LEASE_CHECK_S": "1",
    }
    monkeypatch.setenv("PATH", f"{fake_pbs.install(folder, host)}:{python}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTERODM_PBS_FOLDER", str(tmp_path / "shared"))
    yield folder
    if numbers := [f"{each['number']}.{fake_pbs.SERVER}" for each in fake_pbs.jobs(folder)]:
        fake_pbs.qdel(folder, numbers)


@pytest.fixture
async def provider(pbs: Path, tmp_path: Path) -> AsyncIterator[BootedProvider]:
    async with provided(EXAMPLE, tmp_path, "-S") as found:
        yield found


def test_the_example_configuration_is_one():
    text = (EXAMPLE / "asr-pbs.json").read_text()
    found = parse(text, OUTSIDE)
    assert found.provider == "command"
    assert {size.slug for size in found.limits.sizes} == set(json.loads((EXAMPLE / "sizes.json").read_text()))
    assert {Path(words[0]).parent for words in found.cloud.commands.values()} == {Path("/opt/clusterodm/pbs")}


async def test_a_job_becomes_a_node_that_answers_and_is_gone_when_deleted(provider: BootedProvider, pbs: Path):
    await provider.check()
    up = await provider.set_up(order(), await provider.create(order()))
    async with httpx.AsyncClient(base_url=f"http://{up.address}:{up.port}", timeout=5) as node:
        assert "version" in (await node.get("/info", params={"token": TOKEN})).json()
    assert [each.name for each in await provider.list(PREFIX)] == [NAME]
    (job,) = fake_pbs.jobs(pbs)
    assert (await provider.create(order())).ref == f"{job['number']}.{fake_pbs.SERVER}"
    assert "select=1:ncpus=8:mem=32gb" in job["words"]
    assert TOKEN not in json.dumps(job)
    folder = pbs.parent / "shared" / NAME
    assert [
        file.name for file in folder.iterdir() if file.stat().st_mode & 0o077 and file.name.startswith("lease")
    ] == []
    assert ((folder / "node.json").stat().st_mode & 0o077, folder.stat().st_mode & 0o077) == (0, 0)
    (pbs / "slow-end").touch()
    await provider.destroy(NAME, up.ref)
    assert fake_pbs.jobs(pbs) == []
    assert not folder.exists()
    assert await provider.inspect(NAME) is None


async def test_a_job_that_waits_exists_and_has_no_address(provider: BootedProvider, pbs: Path):
    (pbs / "pending").touch()
    made = await provider.create(order())
    found = await provider.inspect(NAME)
    assert found is not None
    assert (found.ref, found.address, found.running) == (made.ref, "", False)
    await provider.destroy(NAME, made.ref)
    assert fake_pbs.jobs(pbs) == []


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        pytest.param(
            "qsub: would exceed queue workq's per-user limit\n", Trouble.OUT_OF_CAPACITY, id="limit of a user"
        ),
        pytest.param("qsub: Maximum number of jobs already in queue\n", Trouble.OUT_OF_CAPACITY, id="queue is full"),
        pytest.param("qsub: Job violates queue and/or server resource limits\n", Trouble.REFUSED, id="too large"),
        pytest.param("qsub: Unknown queue\n", Trouble.REFUSED, id="no such queue"),
        pytest.param("qsub: Unauthorized Request \n", Trouble.UNAUTHORISED, id="not allowed"),
        pytest.param(
            "Connection refused\nqsub: cannot connect to server pbs01 (errno=111)\n",
            Trouble.RETRYABLE,
            id="out of reach",
        ),
        pytest.param("qsub: Communication failure.\n", Trouble.UNKNOWN_OUTCOME, id="answer lost"),
        pytest.param("qsub: the site's hook says no\n", Trouble.UNKNOWN_OUTCOME, id="what nobody knows"),
    ],
)
async def test_what_pbs_says_is_told_apart(provider: BootedProvider, pbs: Path, words: str, trouble: Trouble):
    (pbs / "refuse").write_text(words)
    with pytest.raises(ProviderFailed) as caught:
        await provider.create(order())
    assert caught.value.trouble is trouble


async def test_a_server_that_is_away_hides_no_machine(provider: BootedProvider, pbs: Path):
    (pbs / "pending").touch()
    made = await provider.create(order())
    (pbs / "away").touch()
    with pytest.raises(ProviderFailed, match="cannot connect to server"):
        await provider.list(PREFIX)
    with pytest.raises(ProviderFailed):
        await provider.destroy(NAME, made.ref)
    (pbs / "away").unlink()
    assert [each.ref for each in await provider.list(PREFIX)] == [made.ref]


async def test_a_job_that_nobody_wants_ends_itself(provider: BootedProvider, pbs: Path):
    unwanted = order(lease_url=Secret("http://127.0.0.1:9/lease?token=x"), lease_s=1)
    await provider.create(unwanted)
    await until(lambda: fake_pbs.jobs(pbs) == [], timeout_s=30)
    assert await provider.inspect(NAME) is None


async def test_a_size_without_flags_and_a_folder_that_qsub_cannot_take_are_refused(
    provider: BootedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ProviderFailed, match="no size 'huge'") as caught:
        await provider.create(order("huge"))
    assert caught.value.trouble is Trouble.REFUSED
    monkeypatch.setenv("CLUSTERODM_PBS_FOLDER", str(tmp_path / "a,b"))
    with pytest.raises(ProviderFailed, match="nothing for qsub -v") as caught:
        await provider.create(order())
    assert caught.value.trouble is Trouble.REFUSED
