"""Every program of ours explains itself, and says in one line what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = (
    "benchmarks",
    "clusterodm.deploy.cli",
    "clusterodm.deploy.probe",
    "docs.write_subjects",
    "clusterodm.libs.machinesim.cloud_api_main",
    "clusterodm.libs.machinesim.docker",
    "clusterodm.libs.machinesim.docker_machine",
    "clusterodm.libs.machinesim.node",
    "clusterodm.libs.machinesim.results",
    "clusterodm.libs.nodesim",
)


def run(module: str, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINESIM_")}
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_answers_help(module: str) -> None:
    done = run(module, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert any(word in done.stdout for word in ("usage: ", "Usage: ", "clusterodm up --help"))


@pytest.mark.parametrize(
    ("module", "words", "line"),
    [
        ("clusterodm.libs.machinesim.docker_machine", ("ls",), "docker_machine: MACHINESIM_DIR is not set"),
        ("clusterodm.libs.machinesim.docker", ("ps",), "docker: MACHINESIM_DIR is not set"),
        (
            "clusterodm.libs.machinesim.node",
            ("/not/there",),
            "python -m clusterodm.libs.machinesim.node: /not/there cannot be read",
        ),
        (
            "clusterodm.libs.machinesim.results",
            ("/not/there", "t", "p"),
            "python -m clusterodm.libs.machinesim.results: /not/there will not do",
        ),
        ("clusterodm.deploy.probe", ("x",), "probe: which of"),
    ],
)
def test_what_is_missing_is_said_in_one_line(module: str, words: tuple[str, ...], line: str) -> None:
    done = run(module, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_simulated_cloud_says_which_regions_and_sizes_it_takes() -> None:
    said = " ".join(run("clusterodm.libs.machinesim.cloud_api_main", "--help").stdout.split())
    assert all(word in said for word in ("nyc3", "s-4vcpu-8gb", "fsn1", "cx22", "fr-par-1", "PLAY2-NANO"))
