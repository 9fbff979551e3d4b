"""What a lease promises: the one in memory and the one on NATS."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.leases import RENEWALS_PER_TTL, is_dead, this_process
from clusterodm.libs.common.ports import Bus
from tests.nats import NatsServer
from tests.waiting import until

HARDY_S = 4
"""A time to live that no pause of a busy computer uses up."""


@asynccontextmanager
async def writers(bus: NatsBus) -> AsyncIterator[list[str]]:
    """Who has written a lease's key or tried to, as it happens: whoever tries again was refused before."""
    seen: list[str] = []

    async def note(written: Msg) -> None:
        seen.append(written.data.decode().partition(" ")[0])

    subscription = await bus._client.subscribe("$KV.leases.>", cb=note)
    await bus._client.flush()
    yield seen
    await subscription.unsubscribe()


async def has_tried(bus: Bus, holder: str) -> None:
    """Wait until a candidate has found the lease held."""
    if not isinstance(bus, NatsBus):
        await asyncio.sleep(0)  # in memory, one turn is enough to stand in the queue
        return
    async with writers(bus) as seen:
        await until(lambda: seen.count(holder) >= 2)


async def has_renewed(bus: NatsBus, holder: str, times_to_live: int) -> None:
    """Wait until a holder has renewed its lease over so many times to live."""
    async with writers(bus) as seen:
        await until(lambda: seen.count(holder) >= times_to_live * RENEWALS_PER_TTL)


async def test_the_first_candidate_leads_at_once(bus: Bus):
    async with asyncio.timeout(15), bus.lead("scheduler", "one") as term:
        assert term.valid


async def test_the_second_waits_until_the_first_has_left(bus: Bus):
    order: list[str] = []

    async def second() -> None:
        async with bus.lead("scheduler", "two") as term:
            order.append("two leads")
            assert term.epoch > first.epoch

    async with asyncio.TaskGroup() as group:
        async with bus.lead("scheduler", "one") as first:
            group.create_task(second())
            await has_tried(bus, "two")
            order.append("one leaves")
        await until(lambda: len(order) == 2)
    assert order == ["one leaves", "two leads"]
    assert not first.valid


async def test_leases_are_independent(bus: Bus):
    async with asyncio.timeout(15), bus.lead("scheduler", "one") as one, bus.lead("autoscaler", "two") as two:
        assert one.valid
        assert two.valid


async def test_whether_a_lease_is_held_is_seen_from_outside(bus: Bus):
    assert not await bus.led("scheduler")
    async with bus.lead("scheduler", "one"):
        assert await bus.led("scheduler")
        assert not await bus.led("autoscaler")
    assert not await bus.led("scheduler")


@pytest.mark.slow
async def test_a_lease_is_kept_by_renewing_it(nats_bus: NatsBus):
    async with nats_bus.lead("scheduler", "one", ttl_s=HARDY_S) as term:
        await has_renewed(nats_bus, "one", times_to_live=2)
        assert term.valid


@pytest.mark.slow
async def test_the_lease_of_a_holder_that_vanished_is_free_soon(nats_server: NatsServer):
    async with AsyncExitStack() as vanishing, connect(nats_server.url, "stays") as bus:
        gone = await vanishing.enter_async_context(connect(nats_server.url, "vanishes"))
        lost = await vanishing.enter_async_context(gone.lead("scheduler", "one", ttl_s=1))
        await gone._client.close()
        began_s = time.monotonic()
        async with bus.lead("scheduler", "two", ttl_s=1) as term:
            assert time.monotonic() - began_s < 15
            assert term.epoch > lost.epoch
            assert not lost.valid


@pytest.mark.slow
async def test_a_holder_without_nats_finds_its_term_over(nats_server: NatsServer):
    async with connect(nats_server.url, "test") as bus:
        async with bus.lead("scheduler", "one", ttl_s=1) as term:
            nats_server.stop()
            async with asyncio.timeout(15):
                await term.over()
            assert not term.valid
            nats_server.start()
            await until(lambda: bus.connected)
        async with asyncio.timeout(15), bus.lead("scheduler", "one", ttl_s=1) as again:
            assert again.epoch > term.epoch


@pytest.mark.slow
async def test_a_lease_survives_a_renewal_whose_answer_was_lost(nats_bus: NatsBus):
    async with nats_bus.lead("scheduler", "one", ttl_s=HARDY_S) as term:
        store = await nats_bus._js.key_value("leases")
        held = await store.get("scheduler")
        assert held.value is not None
        await nats_bus._js.publish("$KV.leases.scheduler", held.value, msg_ttl=HARDY_S)  # written, and nobody told
        await has_renewed(nats_bus, "one", times_to_live=2)
        assert term.valid


@pytest.mark.slow
async def test_a_lease_that_another_has_written_into_is_lost(nats_bus: NatsBus):
    async with nats_bus.lead("scheduler", "one", ttl_s=9) as term:
        await nats_bus._js.publish("$KV.leases.scheduler", b"somebody else", msg_ttl=9)
        async with asyncio.timeout(7.5):
            await term.over()
        assert not term.valid


@pytest.mark.slow
async def test_a_lease_taken_without_an_answer_is_ours_at_once(nats_bus: NatsBus):
    async with nats_bus.lead("autoscaler", "opens the bucket"):
        pass
    ours = f"one {nats_bus._nonce} ttl=30 {this_process()}".encode()
    await nats_bus._js.publish("$KV.leases.scheduler", ours, msg_ttl=30)
    async with asyncio.timeout(15), nats_bus.lead("scheduler", "one", ttl_s=30) as term:
        assert term.valid


@pytest.mark.slow
async def test_a_lease_that_does_not_expire_is_taken_when_its_holder_has_been_silent_for_its_time_to_live(
    nats_bus: NatsBus,
):
    async with nats_bus.lead("autoscaler", "opens the bucket"):
        pass
    left = b"another host ttl=1 /elsewhere"  # by the wall clock of NATS, which stepped back, it has an hour to live
    written = await nats_bus._js.publish("$KV.leases.scheduler", left, msg_ttl=3600)
    began_s = time.monotonic()
    async with asyncio.timeout(15), nats_bus.lead("scheduler", "one", ttl_s=30) as term:
        assert time.monotonic() - began_s > 1
        assert term.epoch > written.seq


@pytest.mark.slow
async def test_a_holder_that_renews_keeps_its_lease_however_short_the_time_to_live_of_a_candidate_is(
    nats_bus: NatsBus,
):
    epochs: list[int] = []

    async def stand() -> None:
        async with nats_bus.lead("scheduler", "hasty", ttl_s=1) as taken:
            epochs.append(taken.epoch)

    async with asyncio.TaskGroup() as group:
        async with nats_bus.lead("scheduler", "patient", ttl_s=9) as term, writers(nats_bus) as seen:
            group.create_task(stand())
            await until(lambda: "patient" in seen, what="a renewal, after three times to live of the candidate")
            await until(lambda: seen.count("hasty") >= 3, what="as many looks of the candidate")
            await until(lambda: "hasty" in seen[seen.index("patient") :], what="the candidate to look again")
            await has_tried(nats_bus, "hasty")
            assert term.valid
            assert not epochs
        await until(lambda: epochs)


@pytest.mark.slow
async def test_a_lease_that_expires_too_soon_ends_the_term_and_somebody_leads_again(nats_bus: NatsBus):
    async with nats_bus.lead("scheduler", "one", ttl_s=9) as term:
        store = await nats_bus._js.key_value("leases")
        await store.purge("scheduler")  # what a step forward of the wall clock of NATS does
        async with asyncio.timeout(7.5):
            await term.over()
        assert not term.valid
    async with asyncio.timeout(7.5), nats_bus.lead("scheduler", "one", ttl_s=9) as again:
        assert again.epoch > term.epoch


ROOT = Path(__file__).parents[2]
HOLD = """
import asyncio, sys
from clusterodm.libs.common.bus.bus import connect
async def main():
    async with connect(sys.argv[1], "holder") as bus, bus.lead("scheduler", "holder", ttl_s=30) as term:
        print(term.epoch, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
def holder(nats_server: NatsServer) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", HOLD, nats_server.url], stdout=subprocess.PIPE, cwd=ROOT) as process:
        yield process
        process.kill()


@pytest.mark.slow
async def test_the_lease_of_a_process_that_died_here_is_free_at_once(
    nats_server: NatsServer, holder: "subprocess.Popen[bytes]"
):
    epoch = int(await asyncio.to_thread(last_word, holder))
    epochs: list[int] = []

    async def stand(bus: Bus) -> None:
        async with bus.lead("scheduler", "candidate", ttl_s=30) as term:
            epochs.append(term.epoch)

    async with connect(nats_server.url, "test") as bus, asyncio.TaskGroup() as group:
        group.create_task(stand(bus))
        await has_tried(bus, "candidate")
        assert not epochs
        holder.kill()
        began_s = time.monotonic()
        await until(lambda: epochs)
        sys.stdout.write(f"\nleading {time.monotonic() - began_s:.2f} s after a kill, the lease lasting 30 s\n")
    assert epochs[0] > epoch


def last_word(holder: "subprocess.Popen[bytes]") -> bytes:
    """Read past the log."""
    assert holder.stdout is not None
    return next(line for line in holder.stdout if line.strip().isdigit())


@pytest.mark.parametrize(
    "process",
    [
        pytest.param("", id="nameless"),
        pytest.param("other-boot/1/1/1", id="another boot"),
        pytest.param("nonsense", id="nonsense"),
    ],
)
def test_a_process_that_cannot_be_seen_from_here_is_not_dead(process: str):
    assert not is_dead(process)


def test_a_process_whose_number_another_has_now_is_dead():
    boot, namespace, pid, started = this_process().split("/")
    assert not is_dead(f"{boot}/{namespace}/{pid}/{started}")
    assert is_dead(f"{boot}/{namespace}/{pid}/{int(started) - 1}")
