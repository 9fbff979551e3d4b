"""A service gives signs of life as systemd wants them, as long as its loops go round."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterodm.libs.common.process.loops import Loops, background, watched
from clusterodm.libs.common.process.watchdog import limit_s, notify, notify_ready, with_watchdog
from clusterodm.libs.common.testing.clock import FakeClock
from tests.waiting import until


class Keeper:
    """Whoever keeps a process: a socket, and what has come."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)
        self.said: list[str] = []

    def listen(self) -> list[str]:
        """Take what has come; all so far."""
        try:
            while True:
                self.said.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self.said

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    name = f"clusterodm-test-{os.getpid()}"
    keeper = Keeper(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    monkeypatch.setenv("WATCHDOG_USEC", "40000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield keeper
    keeper.close()


def test_ready_is_said_once_to_whoever_asks_for_it(keeper: Keeper):
    notify_ready()
    assert keeper.listen() == ["READY=1"]


def test_a_socket_may_be_a_file(tmp_path: Path):
    keeper = Keeper(str(tmp_path / "notify"))
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert keeper.listen() == ["READY=1"]
    keeper.close()


@pytest.mark.parametrize("address", ["", "@nobody-listens-here", "/nowhere/notify"])
def test_that_nobody_listens_is_no_trouble(address: str):
    notify("READY=1", {"NOTIFY_SOCKET": address})


def test_a_full_queue_is_not_waited_for(keeper: Keeper):
    for _ in range(10_000):
        notify("WATCHDOG=1")
    assert keeper.listen()[0] == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        pytest.param({}, None, id="nobody asks"),
        pytest.param({"WATCHDOG_USEC": "20000000"}, 20.0, id="asked"),
        pytest.param({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None, id="another process is asked"),
        pytest.param({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0, id="this one is asked"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="no limit"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="nonsense"),
    ],
)
def test_the_limit_is_what_the_environment_says(environment: dict[str, str], seconds: float | None):
    assert limit_s(environment) == seconds


async def test_signs_of_life_go_on_as_long_as_it_serves(keeper: Keeper):
    serving = asyncio.Event()

    async def serve() -> None:
        await serving.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(with_watchdog(serve()))
        await until(lambda: len(keeper.listen()) >= 3)
        serving.set()
    assert set(keeper.listen()) == {"WATCHDOG=1"}


async def test_a_loop_that_hangs_ends_the_signs_of_life(keeper: Keeper):
    clock = FakeClock()
    rounds = asyncio.Event()

    async def never() -> None:
        await rounds.wait()

    async def serve() -> None:
        async with background(never, "hangs", late_after_s=10):
            await until(lambda: len(keeper.listen()) >= 2)
            clock.pass_s(11)
            asking = asyncio.get_running_loop().time() + 0.1  # ten times as long as between two signs
            keeper.listen()
            before_count = len(keeper.said)
            await until(lambda: asyncio.get_running_loop().time() > asking)
            assert len(keeper.listen()) <= before_count + 1

    with watched(Loops(clock)):
        await with_watchdog(serve())
