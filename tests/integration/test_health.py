"""`/healthz` and `/readyz` of a real scheduler: well, without NATS, frozen."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.health.health import NeededServices
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH
from tests.nats import NatsServer
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


class Started:
    """A scheduler process with a health port."""

    def __init__(self, nats_url: str, log: Path) -> None:
        self.port = free_port()
        self.log = log
        words = ["scheduler", f"--nats-url={nats_url}", f"--health-port={self.port}"]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "clusterodm.deploy.cli", *words], cwd=REPOSITORY, stdout=out, stderr=out
            )

    async def page(self, path: str) -> tuple[int, dict[str, object]]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=5) as http:
            try:
                answer = await http.get(path)
            except httpx.TransportError:
                return 0, {}
        return answer.status_code, answer.json()

    async def is_well(self, path: str) -> bool:
        return (await self.page(path))[0] == 200


@contextmanager
def running(nats_url: str, log: Path) -> Iterator[Started]:
    """Run a scheduler while the context is open."""
    started = Started(nats_url, log)
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGCONT)
        started.process.terminate()
        started.process.wait(60)


@pytest.fixture
def scheduler(nats_url: str, tmp_path: Path) -> Iterator[Started]:
    with running(nats_url, tmp_path / "log") as started:
        yield started


async def test_a_scheduler_tells_of_each_of_its_loops(scheduler: Started):
    await until(lambda: scheduler.is_well("/readyz"), timeout_s=30)

    async def all_went_round() -> bool:
        _, said = await scheduler.page("/readyz")
        aged = {loop["name"] for loop in said["loops"] if "success_age_s" in loop}  # type: ignore[attr-defined]
        return {"probe nodes", "track tasks", "tell totals", "check forwarding", "forget tasks"} <= aged

    await until(all_went_round, timeout_s=30)


async def test_a_scheduler_without_nats_is_alive_and_not_ready(scheduler: Started, nats_server: NatsServer):
    await until(lambda: scheduler.is_well("/readyz"), timeout_s=30)
    nats_server.stop()
    await until(lambda: _not(scheduler.is_well("/readyz")), timeout_s=30)
    assert await scheduler.is_well("/healthz")
    nats_server.start()
    await until(lambda: scheduler.is_well("/readyz"), timeout_s=30)


async def test_a_scheduler_is_not_ready_while_nobody_leads(nats_bus: NatsBus, nats_url: str, tmp_path: Path):
    async with AsyncExitStack() as stack:
        async with nats_bus.lead("scheduler", "somebody who answers nothing"):
            scheduler = stack.enter_context(running(nats_url, tmp_path / "log"))
            await until(lambda: scheduler.is_well("/healthz"), timeout_s=60)

            async def only_the_leader_is_missing() -> bool:
                code, said = await scheduler.page("/readyz")
                return code == 503 and (said["bus"], said["services"]["leader"]["ok"]) == (True, False)  # type: ignore[index]

            await until(only_the_leader_is_missing)
        await until(lambda: scheduler.is_well("/readyz"), timeout_s=60)


async def test_a_frozen_scheduler_is_seen_by_whoever_needs_it(scheduler: Started, nats_bus: NatsBus):
    needed = NeededServices(nats_bus, {"scheduler": SCHEDULER_HEALTH}, silent_after_s=3.0)

    async def is_seen() -> bool:
        await needed.check()
        return needed.seen()["scheduler"].ok

    await until(is_seen, timeout_s=30)
    scheduler.process.send_signal(signal.SIGSTOP)
    await until(lambda: _not(is_seen()), timeout_s=30)
    scheduler.process.send_signal(signal.SIGCONT)
    await until(is_seen, timeout_s=30)


async def test_a_health_port_that_is_taken_is_one_line_at_once(scheduler: Started, nats_url: str):
    await until(lambda: scheduler.is_well("/healthz"), timeout_s=30)
    words = ["scheduler", f"--nats-url={nats_url}", f"--health-port={scheduler.port}"]
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "clusterodm.deploy.cli", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr == (
        f"clusterodm scheduler: --health-port {scheduler.port}: cannot listen on 127.0.0.1:{scheduler.port}:"
        " Address already in use\n"
    )


async def _not(fact: "asyncio.Future[bool] | object") -> bool:
    return not await fact  # type: ignore[misc]
