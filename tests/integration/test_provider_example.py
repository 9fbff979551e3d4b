"""docs/examples/provider as a stranger has it: installed, found by its entry point, and held to the contract."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "provider"
PIP = (
    Path(sys.executable).with_name("uv"),
    "pip",
    "install",
    "--python",
    sys.executable,
    "--quiet",
    "--offline",
    "--no-deps",
    "--no-build-isolation",
)
FILE = {
    "provider": "tinycloud",
    "token": {"env": "TINYCLOUD_TOKEN"},
    "imageSizeMapping": [{"slug": "small", "maxImages": 100}],
    "keepResults": 600,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copytree(EXAMPLE, folder / "source")
    ran = subprocess.run(
        [*PIP, "--target", folder / "site", folder / "source"], check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return folder / "site"


def run(site: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site), "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_the_example_keeps_the_contract(site: Path):
    ran = run(site, "pytest", "-q", "-p", "no:cacheprovider", "--provider", "tinycloud:Provider")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


def test_its_entry_point_makes_it_a_provider_of_the_file(site: Path, tmp_path: Path):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps(FILE))
    ran = run(site, "clusterodm.deploy.cli", "asr", "check", str(path), TINYCLOUD_TOKEN="made-up")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("no mistakes: tinycloud by api; small up to 100 images")
    ran = run(site, "clusterodm.deploy.cli", "asr", "check", str(path))
    assert (ran.returncode, ran.stderr.strip()) == (2, f"{path}: token: the environment has no TINYCLOUD_TOKEN")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--provider", "no_such:Provider"], "'no_such:Provider': ModuleNotFoundError", id="no package"),
        pytest.param(["--provider", "tinycloud:Nobody"], "'tinycloud:Nobody': AttributeError", id="no class"),
        pytest.param(["--provider", "tinycloud:Settings"], "give --trial MODULE:FUNCTION", id="no trial"),
    ],
)
def test_what_cannot_be_tried_is_told_in_a_line(site: Path, words: list[str], said: str):
    ran = run(site, "pytest", "-q", "-x", "-p", "no:cacheprovider", *words)
    assert ran.returncode != 0
    assert said in ran.stdout + ran.stderr
