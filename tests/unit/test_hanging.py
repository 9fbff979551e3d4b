"""A test that hangs while it is taken down ends its process, and says where it hung."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONFTEST = "from tests.hanging import HangWatch\ndef pytest_configure(config): config.pluginmanager.register(HangWatch(config, 1.0))\n"
HANGS = """
import threading, pytest

@pytest.fixture
def thing():
    yield
    never_set_by_anybody()

def never_set_by_anybody():
    threading.Event().wait()

def test_it(thing):
    print("captured")
"""


def run(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_one.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", "test_one.py"],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_hangs_while_it_is_taken_down_is_ended_and_named(tmp_path: Path) -> None:
    ended = run(tmp_path, HANGS)

    assert ended.returncode == 1
    assert "never_set_by_anybody" in ended.stderr


def test_what_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    ended = run(tmp_path, "def test_it(): pass\n")

    assert ended.returncode == 0
    assert "Thread" not in ended.stderr
