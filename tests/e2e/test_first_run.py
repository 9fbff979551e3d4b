"""The first run as a new user: a clone without leftovers, `make run`, a dataset in, its result out, Ctrl-C."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pyodm
import pytest

from tests.datasets import expected, make_images, processed
from tests.e2e.up import Up
from tests.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
INSTALL_S = 300.0


class MakeRun(Up):
    """`make run` in a clone; Ctrl-C reaches make and all that it runs in the foreground, as in a terminal."""

    @property
    def command(self) -> list[str]:
        """What the user types, and flags that keep this run apart from others."""
        return ["make", "run", f"ARGS={' '.join(word for word in super().command if word.startswith('--'))}"]

    def ready(self) -> None:
        """Wait for the summary: the first run installs everything."""
        until_sync(self._greeted, timeout_s=INSTALL_S, step_s=0.1, what="make run to be ready")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the signal to the whole foreground group."""
        assert self._process is not None
        os.killpg(self._process.pid, number)
        return self.wait()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("git", "make"):
        assert shutil.which(name), f"this test needs {name}: apt-get install {name}"
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True, timeout=60)
    return folder


def test_a_fresh_clone_runs_a_dataset_with_one_command(clone: Path, tmp_path: Path):
    data_dir = tmp_path / "data"
    images = make_images(tmp_path / "images", 5)
    with MakeRun(data_dir, root=clone) as up:
        task = pyodm.Node("127.0.0.1", up.port).create_task([str(path) for path in images], {"dsm": True}, "first")
        task.wait_for_completion(interval=0.2)
        assert processed(Path(task.download_zip(str(tmp_path)))) == expected(images)
        up.stop()
        assert up.processes() == []
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True, timeout=60
    )
    assert left.stdout == "", "a run leaves nothing in the clone that git would see"


def test_make_lists_its_verbs():
    said = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60).stdout
    for verb in ("run", "test", "test-fast", "check", "format", "bench", "lock", "clean"):
        assert f"\n  {verb} " in said, verb
