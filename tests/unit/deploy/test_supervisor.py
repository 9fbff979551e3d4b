"""Real processes under the supervisor: every kind of death, and what a child takes along."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENT_S, until_sync

PROGRAM = Path(__file__).with_name("supervised.py")

pytestmark = pytest.mark.slow


class Supervised:
    """A supervisor, its output, and its processes."""

    def __init__(self, folder: Path, *pairs: str, watchdog_s: float = PATIENT_S, under: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._log = folder / "output"
        with self._log.open("ab") as log:
            command = [*under, sys.executable, str(PROGRAM), str(folder), str(watchdog_s), *pairs]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def output(self) -> str:
        """All that was printed."""
        return self._log.read_text()

    def pids(self, name: str) -> list[int]:
        """Process ids of a process so far."""
        path = self._folder / f"{name}.pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def running(self, name: str, starts_count: int = 1) -> int:
        """Wait until it has been started so often; its id."""
        return until_sync(lambda: self.pids(name)[starts_count - 1 :], what=f"start {starts_count} of {name}")[-1]

    def stop(self) -> int:
        """Stop it in order; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=20)

    def end(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        for path in self._folder.glob("*.pids"):
            for pid in filter(alive, map(int, path.read_text().split())):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


Start = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Start]:
    made: list[Supervised] = []

    def start(*pairs: str, watchdog_s: float = PATIENT_S, under: tuple[str, ...] = ()) -> Supervised:
        made.append(Supervised(tmp_path, *pairs, watchdog_s=watchdog_s, under=under))
        return made[-1]

    yield start
    for supervised in made:
        supervised.end()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT])
@pytest.mark.parametrize("behaviour", ["lives", "program"])
def test_a_process_that_is_killed_is_started_again(supervise: Start, behaviour: str, number: signal.Signals):
    supervised = supervise(f"svc={behaviour}", "other=lives")
    other = supervised.running("other")
    os.kill(supervised.running("svc"), number)
    supervised.running("svc", 2)
    assert "svc: " in supervised.output
    assert alive(other)
    assert supervised.stop() == 0
    assert not any(map(alive, [*supervised.pids("svc"), *supervised.pids("other")]))


def test_a_process_that_is_stopped_is_replaced_after_the_limit(supervise: Start):
    supervised = supervise("svc=lives", watchdog_s=1.0)
    first = supervised.running("svc")
    os.kill(first, signal.SIGSTOP)
    supervised.running("svc", 2)
    assert "svc: no sign of life for 1 s: it hangs, stopping it" in supervised.output
    assert not alive(first)


def test_a_process_that_hangs_writes_where_and_is_replaced(supervise: Start):
    supervised = supervise("svc=hangs", watchdog_s=1.0)
    supervised.running("svc", 2)
    until_sync(lambda: "in hangs" in supervised.output, what="the stack of what hangs")
    assert "svc: killed by SIGABRT: starting it again" in supervised.output


def test_a_crash_in_c_writes_where_and_is_started_again(supervise: Start):
    supervised = supervise("crashes=crashes")
    supervised.running("crashes", 2)
    until_sync(lambda: "Fatal Python error: Segmentation fault" in supervised.output, what="where it crashed")
    assert "crashes: killed by SIGSEGV: starting it again" in supervised.output


@pytest.mark.parametrize(("behaviour", "code"), [("exit-0", 1), ("exit-1", 1), ("exit-2", 2), ("exit-78", 1)])
def test_an_end_at_the_first_start_ends_everything_with_one_line(supervise: Start, behaviour: str, code: int):
    supervised = supervise("other=lives", f"svc={behaviour}")
    assert supervised.process.wait(timeout=20) == code
    assert supervised.output.count("svc: exit code") == 1
    assert len(supervised.pids("svc")) == 1
    assert not any(map(alive, supervised.pids("other")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_can_be_stopped_by_every_signal_and_whatever_its_processes_do(supervise: Start, number: signal.Signals):
    supervised = supervise("deaf=hangs", "still=lives", "well=lives", watchdog_s=0.0)
    for name in ("deaf", "still", "well"):
        supervised.running(name)
    os.kill(supervised.running("still"), signal.SIGSTOP)
    supervised.process.send_signal(number)
    assert supervised.process.wait(timeout=20) == 0
    assert supervised.output.count("not finished 3 s after SIGTERM: killed") == 2


def test_who_was_started_by_nohup_outlives_the_terminal(supervise: Start):
    supervised = supervise("svc=lives", under=("nohup",))
    service = supervised.running("svc")
    supervised.process.send_signal(signal.SIGHUP)
    os.kill(service, signal.SIGKILL)  # it hears of both in this order, and starts another only where it goes on
    supervised.running("svc", 2)
    assert supervised.stop() == 0


def test_it_can_be_stopped_in_the_middle_of_the_start(supervise: Start):
    supervised = supervise(*(f"svc{number}=lives" for number in range(20)))
    supervised.running("svc0")
    assert supervised.stop() == 0
    assert not any(alive(pid) for number in range(20) for pid in supervised.pids(f"svc{number}"))


def test_a_supervisor_that_was_stopped_itself_blames_nobody(supervise: Start, tmp_path: Path):
    supervised = supervise("svc=lives", watchdog_s=6.0)
    service = supervised.running("svc")
    os.kill(service, signal.SIGSTOP)
    supervised.process.send_signal(signal.SIGSTOP)
    subprocess.run(["sleep", "7"], check=True)  # the supervisor's own clock is what is tested
    supervised.process.send_signal(signal.SIGCONT)
    os.kill(service, signal.SIGCONT)
    other = Supervised.pids(supervised, "svc")
    os.kill(service, signal.SIGKILL)
    supervised.running("svc", 2)
    assert "no sign of life" not in supervised.output
    assert other == [service]


def test_nothing_outlives_a_killed_supervisor(supervise: Start, tmp_path: Path):
    supervised = supervise("svc=lives", "nats=program")
    pids = [supervised.running("svc"), supervised.running("nats")]
    until_sync(lambda: "nats started" in supervised.output)
    supervised.process.kill()
    until_sync(lambda: not any(map(alive, pids)), what="both to end")
    assert (tmp_path / "stopped").exists(), "it was told to stop, and did so in order"


def test_the_next_one_waits_for_what_is_left_and_ends_what_hangs(supervise: Start):
    first = supervise("svc=hangs", watchdog_s=0.0)
    remains = first.running("svc")
    until_sync(lambda: "svc started" in first.output)
    first.process.kill()
    first.process.wait()
    second = supervise("svc=lives", watchdog_s=0.0)
    second.running("svc", 2)
    assert not alive(remains)
    assert second.stop() == 0


def test_a_second_one_beside_the_first_is_refused(supervise: Start, tmp_path: Path):
    first = supervise("svc=lives")
    first.running("svc")
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "0", "svc=lives"], capture_output=True, timeout=20, check=False
    )
    assert f"another clusterodm up (process {first.process.pid})".encode() in ran.stderr
    assert len(first.pids("svc")) == 1


def test_a_child_takes_nothing_of_its_supervisor_along(supervise: Start, tmp_path: Path):
    supervised = supervise("first=lives", "svc=shows")
    pid = supervised.running("svc")
    until_sync(lambda: "group" in supervised.output)
    [descriptors] = [line for line in supervised.output.splitlines() if "descriptors" in line]
    assert len(descriptors.partition("[")[2].split(",")) == 4, "standard input and output, and the lock"
    assert "environment ['NOTIFY_SOCKET', 'OWN', 'PATH', 'WATCHDOG_USEC']" in supervised.output
    assert "threads 1 group True" in supervised.output
    assert Path(f"/proc/{pid}/cmdline").read_text().startswith(f"supervised svc [{tmp_path}]")
