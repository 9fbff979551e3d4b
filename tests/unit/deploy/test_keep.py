"""A keeper starts its service again, and knows when that is of no use."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.datadir import locked
from deploy.keep import FIRST_PAUSE_S, LONGEST_PAUSE_S, SETTLED_S, Ending, pause_s
from deploy.processes import KEEPER
from tests.waiting import until_sync


@pytest.mark.parametrize(
    ("ending", "final"),
    [
        pytest.param(Ending(2, 1000.0, first=False), True, id="wrong settings, at any time"),
        pytest.param(Ending(1, 0.5, first=True), True, id="fails at the first start"),
        pytest.param(Ending(0, 0.5, first=True), True, id="ends at the first start"),
        pytest.param(Ending(-9, 0.5, first=True), False, id="killed at the first start"),
        pytest.param(Ending(1, SETTLED_S, first=True), False, id="fails after a good start"),
        pytest.param(Ending(1, 0.5, first=False), False, id="fails at a later start"),
        pytest.param(Ending(78, 60.0, first=True), True, id="cannot begin with what it was given, after a long while"),
        pytest.param(Ending(78, 0.5, first=False), False, id="cannot begin now with what it had begun with before"),
    ],
)
def test_an_ending_is_final_only_when_another_start_would_not_help(ending: Ending, final: bool):
    assert ending.final is final


def test_pauses_double_up_to_a_limit_and_start_over_after_a_good_run():
    pauses = [0.0]
    for _ in range(10):
        pauses.append(pause_s(pauses[-1], ran_s=0.1))
    assert pauses[1:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pause_s(LONGEST_PAUSE_S, ran_s=SETTLED_S) == FIRST_PAUSE_S


class Kept:
    """A keeper with a small shell script as its service, which writes its process id into a file."""

    def __init__(self, folder: Path, script: str, *flags: str) -> None:
        self._ids = folder / "ids"
        self.output = folder / "output"
        command = [sys.executable, "-S", str(KEEPER), *flags, "svc", "sh", "-c", f"echo $$ >> {self._ids}; {script}"]
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def ids(self) -> list[int]:
        """Process ids of the service so far."""
        return [int(line) for line in self._ids.read_text().split()] if self._ids.exists() else []

    def end(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        for process in filter(alive, self.ids()):
            os.kill(process, signal.SIGKILL)


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def keep(tmp_path: Path) -> Iterator["type[Kept]"]:
    made: list[Kept] = []

    def make(script: str, *flags: str) -> Kept:
        made.append(Kept(tmp_path, script, *flags))
        return made[-1]

    yield make  # type: ignore[misc]
    for kept in made:
        kept.end()


def test_a_killed_service_is_started_again(keep):  # noqa: ANN001
    kept = keep("exec sleep 60")
    until_sync(kept.ids)
    os.kill(kept.ids()[0], signal.SIGKILL)
    until_sync(lambda: len(kept.ids()) == 2)
    assert "svc: killed by SIGKILL: starting it again" in kept.output.read_text()


def test_wrong_settings_are_passed_on(keep):  # noqa: ANN001
    kept = keep("exit 2")
    assert kept.process.wait(timeout=10) == 2
    assert len(kept.ids()) == 1


def test_a_service_that_fails_at_once_is_not_started_again(keep):  # noqa: ANN001
    kept = keep("exit 1")
    assert kept.process.wait(timeout=10) == 1
    assert len(kept.ids()) == 1


def test_sigterm_reaches_the_service_once_and_it_may_finish(keep, tmp_path: Path):  # noqa: ANN001
    heard = tmp_path / "heard"
    kept = keep(f"trap 'echo term >> {heard}; exit 0' TERM; echo up > {heard}; while :; do sleep 0.05; done")
    until_sync(heard.exists)
    os.killpg(kept.process.pid, signal.SIGTERM)
    assert kept.process.wait(timeout=10) == 0
    assert heard.read_text().splitlines() == ["up", "term"]


def test_a_service_that_does_not_finish_is_killed_after_the_grace(keep):  # noqa: ANN001
    kept = keep("trap '' TERM; while :; do sleep 0.05; done", "--grace=0.3")
    until_sync(kept.ids)
    kept.process.terminate()
    assert kept.process.wait(timeout=10) == 0
    until_sync(lambda: not alive(kept.ids()[0]))
    assert "killed" in kept.output.read_text()


def test_the_service_ends_when_its_guard_is_released(keep, tmp_path: Path):  # noqa: ANN001
    holder = (
        "import sys; from pathlib import Path; from deploy.datadir import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as up:
        assert up.stdout
        assert up.stdout.readline() == b"held\n"
        kept = keep("exec sleep 60", f"--guard={tmp_path / 'up.lock'}")
        until_sync(kept.ids)
        assert kept.process.poll() is None
        up.kill()
    assert kept.process.wait(timeout=10) == 0
    assert not alive(kept.ids()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal exists on Linux only")
def test_the_service_does_not_outlive_a_killed_keeper(keep):  # noqa: ANN001
    kept = keep("exec sleep 60")
    until_sync(kept.ids)
    kept.process.kill()
    until_sync(lambda: not alive(kept.ids()[0]))


def test_a_lock_is_free_again_after_its_block(tmp_path: Path):
    for _ in range(2):
        with locked(tmp_path) as path:
            assert path.exists()
