"""docker-machine's stand-in and the real program agree, as far as an autoscaler meets them: what they print, their codes, what they leave.

The real one runs where DOCKER_MACHINE names it (docs/autoscaler.md says how it is built), its cloud behind a relay on loopback that plays
api.digitalocean.com; nothing leaves this computer.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterodm.libs.machinesim.cloud_api import CloudApi
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, serving
from clusterodm.libs.machinesim.flags import DRIVERS
from clusterodm.libs.machinesim.testing import DockerMachineSim
from tests.real_docker_machine import HOSTS, played, real_program

pytestmark = pytest.mark.slow

LIMIT_S = 60
CREATE = ("create", "--driver", "digitalocean", "--digitalocean-size", "s-1vcpu-1gb")
MISSING = 'Docker machine "nobody" does not exist.'


@dataclass
class Program:
    """One of the two."""

    words: list[str]
    environment: dict[str, str]
    sim: DockerMachineSim | None = None
    cloud: CloudApi | None = None

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command without anybody to answer its questions: its code, and what it prints."""
        ran = await asyncio.to_thread(
            subprocess.run,
            [*self.words, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr


@pytest.fixture(params=["stand-in", "real"])
async def program(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Program]:
    if request.param == "stand-in":
        with DockerMachineSim(tmp_path / "dm") as sim:
            environment = {**os.environ, **sim.environment, "DIGITALOCEAN_ACCESS_TOKEN": TOKEN}
            yield Program([str(sim.bin / "docker-machine")], environment, sim)
        return
    real = real_program()
    async with serving("digitalocean") as served, played({HOSTS["digitalocean"]: served.url}, tmp_path) as way:
        environment = {
            "PATH": f"{Path(real).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "MACHINE_STORAGE_PATH": str(tmp_path / "store"),
            "DIGITALOCEAN_ACCESS_TOKEN": TOKEN,
            "MACHINE_BUGSNAG_API_TOKEN": "no-report",
            **way,
        }
        yield Program([real], environment, cloud=served.cloud)


async def flags(program: Program, driver: str) -> set[str]:
    """Ask a driver which flags of its own it has."""
    code, out, _ = await program.run("create", "--driver", driver, "--help")
    assert code == 0
    return {line.split()[0].removeprefix("--") for line in out.splitlines() if line.strip().startswith(f"--{driver}")}


def known(driver: str) -> set[str]:
    """The flags of a driver that the stand-in takes."""
    return {line.split()[0] for line in DRIVERS[driver].splitlines() if line}


@pytest.mark.parametrize("driver", ["digitalocean", "amazonec2", "scaleway"])
async def test_a_driver_has_the_flags_that_the_stand_in_takes(program: Program, driver: str):
    if not program.sim:
        real_program(driver)
    assert await flags(program, driver) == known(driver)


async def test_hetzners_driver_of_the_originals_image_has_some_of_the_flags_that_the_stand_in_takes(program: Program):
    """The real one is 2.0.1, which the original installs; the stand-in takes those of 5.0.2."""
    if program.sim:
        assert await flags(program, "hetzner") == known("hetzner")
        return
    real_program("hetzner")
    found = await flags(program, "hetzner")
    assert found < known("hetzner")
    assert "hetzner-server-label" not in found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("inspect", "nobody"), 1, MISSING),
        (("status", "nobody"), 1, MISSING),
        (("ssh", "nobody", "true"), 1, MISSING),
        (("rm", "-y", "nobody"), 1, f'Error removing host "nobody": {MISSING}'),
        (("rm", "-f", "nobody"), 0, f'Error removing host "nobody": {MISSING}'),
        (("rm", "nobody"), 0, ""),
        (("ls", "-q"), 0, ""),
        (("ls", "--filter", "name=^x", "--format", "{{.Name}}|{{.State}}|{{.Error}}"), 0, ""),
        (("create", "--driver", "nothing", "x"), 1, 'Driver "nothing" not found. Do you have the plugin binary'),
        ((*CREATE, "a_b"), 1, "Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -"),
        (CREATE, 1, "Error: No machine name specified"),
        ((*CREATE, "a", "b"), 1, "Invalid command line. Found extra arguments [b]"),
        ((*CREATE, "--nope", "a"), 1, "flag provided but not defined: -nope"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)  # fmt: skip
async def test_what_needs_no_cloud_is_answered_alike(program: Program, words: tuple[str, ...], code: int, said: str):
    assert (ran := await program.run(*words))[0] == code, ran
    assert said in ran[2]
    assert "Successfully removed" not in ran[1]


async def refused(program: Program) -> tuple[int, str, str]:
    """Create a machine that the cloud refuses when it is asked for."""
    if program.sim:
        program.sim.fail("create-called", "422 droplet limit")
    if program.cloud:
        program.cloud.fail("create", "limit")
    return await program.run(*CREATE, "ab")


async def test_a_machine_that_the_cloud_refuses_leaves_an_entry_whose_removal_fails_unless_forced(program: Program):
    code, _, said = await refused(program)
    assert code == 1
    assert "422" in said
    assert (await program.run("ls", "-q"))[1].split() == ["ab"]
    assert '"DropletID": 0' in (await program.run("inspect", "ab"))[1]
    code, _, said = await program.run("rm", "-y", "ab")
    assert (code, "unexpected EOF" in said) == (1, True)
    assert (await program.run("ls", "-q"))[1].split() == ["ab"]
    code, out, said = await program.run("rm", "-f", "ab")
    assert (code, "Successfully removed ab" in out, "unexpected EOF" in said) == (0, True, True)
    assert (await program.run("ls", "-q"))[1].split() == []


async def test_a_cloud_that_does_not_answer_before_anything_is_created_leaves_nothing(program: Program):
    if program.sim:
        program.sim.fail("create", "500 try again")
    if program.cloud:
        program.cloud.fail("any", "error", -1)
    code, _, said = await program.run(*CREATE, "ab")
    assert (code, "Error with pre-create check" in said) == (3, True)
    assert (await program.run("ls", "-q"))[1].split() == []


async def test_a_name_that_is_taken_is_refused(program: Program):
    await refused(program)
    code, _, said = await program.run(*CREATE, "ab")
    assert (code, 'Docker machine "ab" already exists' in said) == (1, True)
