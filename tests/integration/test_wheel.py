"""The wheel: one top-level name, nothing that only tests use, and it works beside a project whose folders are called as ours."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.up import Up

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = REPOSITORY, python_path: str = "") -> str:
    ran = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """Where it is installed, without what it needs: the packages of this environment do."""
    folder = wheel.parent / "site"
    run(
        Path(sys.executable).with_name("uv"),
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        f"--target={folder}",
        wheel,
    )
    return folder


def lay_out(project: Path) -> None:
    """Make the folders of somebody's project, which are called as those of ours."""
    for folder in ("services", "libs", "deploy"):
        (project / folder).mkdir(parents=True)
        (project / folder / "__init__.py").write_text("THEIRS = True\n")


def test_it_has_one_top_level_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"clusterodm"}


def test_what_only_tests_use_is_not_in_it_and_what_people_start_from_is(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert [name for name in names if "machinesim" in name or "testing" in name or "faults" in name] == []
    assert {"clusterodm/deploy/docker-compose.yml", "clusterodm/deploy/kubernetes/admin.yaml"} <= set(names)
    assert "clusterodm/examples/asr-hetzner.json" in names


@pytest.mark.parametrize("service", ["proxy", "scheduler", "autoscaler", "admin"])
def test_each_service_starts_from_it_beside_a_project_with_folders_of_the_same_names(
    site: Path, tmp_path: Path, service: str
) -> None:
    lay_out(tmp_path)
    program = (
        f"import clusterodm.services.{service}.main as ours, services, libs, deploy, json;"
        "print(json.dumps([ours.__file__, services.THEIRS and libs.THEIRS and deploy.THEIRS]))"
    )

    file, theirs = json.loads(run(sys.executable, "-c", program, cwd=tmp_path, python_path=f"{tmp_path}:{site}"))

    assert (Path(file).is_relative_to(site), theirs) == (True, True)


def test_a_whole_cluster_starts_from_it_beside_such_a_project(site: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    lay_out(project)
    command = project / ".venv" / "bin" / "clusterodm"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m clusterodm.deploy.cli "$@"\n')
    command.chmod(0o755)

    with Up(tmp_path / "data", "--proxies=2", root=project, environment={"PYTHONPATH": f"{project}:{site}"}) as up:
        assert up.healthy()
        assert up.stop() == 0

    assert "No module named" not in up.history


def test_its_command_takes_its_own_example(site: Path, tmp_path: Path) -> None:
    example = json.loads((site / "clusterodm" / "examples" / "asr-hetzner.json").read_text())
    example |= {"apiToken": "a-token", "s3": {**example["s3"], "accessKey": "a-key", "secretKey": "a-secret"}}
    (tmp_path / "asr.json").write_text(json.dumps(example))

    said = run(
        sys.executable, "-m", "clusterodm.deploy.cli", "asr", "check", "asr.json", cwd=tmp_path, python_path=str(site)
    )

    assert said.startswith("no mistakes: hetzner")
