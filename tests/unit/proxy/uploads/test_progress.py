"""Operators are told of uploads from init on, and of the disk under the spool, by what has changed."""

from dataclasses import dataclass

import pytest

from clusterodm.libs.common.messages.buckets import PROGRESS, SPOOLS, UPLOADS
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.spool.core.upload import Draft
from clusterodm.services.proxy.uploads.handlers.progress import UploadReporter
from tests.memory_spool import MemorySpool

ONE, TWO = TaskId("11111111-0000-4000-8000-000000000001"), TaskId("11111111-0000-4000-8000-000000000002")


@dataclass
class Told:
    """A spool, its reporter, and what is told."""

    spool: MemorySpool
    reporter: UploadReporter
    progress: Bucket[UploadProgress]
    clock: FakeClock
    bus: MemoryBus

    async def now(self) -> dict[str, UploadProgress]:
        """Let time pass, publish, and read it."""
        self.clock.pass_s(2)
        await self.reporter.publish()
        return {key: entry.value for key, entry in (await self.progress.load()).items()}

    async def revisions(self) -> dict[str, int]:
        return {key: entry.revision for key, entry in (await self.progress.load()).items()}


@pytest.fixture
async def told() -> Told:
    """A spool of which nothing has been told yet."""
    bus, clock = MemoryBus(), FakeClock()
    spool = MemorySpool(await bus.bucket(UPLOADS), clock)
    progress, spools = await bus.bucket(PROGRESS), await bus.bucket(SPOOLS)
    return Told(spool, UploadReporter(spool, progress, spools, lambda: (30, 100), clock), progress, clock, bus)


async def uploads(told: Told, task: TaskId, size_bytes: int) -> None:
    async with told.spool.receive(task) as receipt:
        part = await receipt.open(f"{size_bytes}.jpg")
        part.write(b"x" * size_bytes)
        part.close()


async def test_an_upload_is_told_of_from_init_to_commit(told: Told):
    await told.spool.create(Draft(task=ONE, name="field", created_at_ms=5))
    begun = (await told.now())[ONE]
    assert (begun.name, begun.arrived_bytes, begun.files_count) == ("field", 0, 0)
    await uploads(told, ONE, 4_000)
    grown = (await told.now())[ONE]
    assert (grown.arrived_bytes, grown.files_count, grown.rate_bytes_per_s) == (4_000, 1, 2_000.0)
    await told.spool.commit(ONE, 7)
    assert await told.now() == {}


async def test_what_has_not_changed_is_not_written_again(told: Told):
    for task in (ONE, TWO):
        await told.spool.create(Draft(task=task, name="field", created_at_ms=5))
    await told.now()
    before = await told.revisions()
    await uploads(told, TWO, 10)
    await told.now()
    after = await told.revisions()
    assert after[ONE] == before[ONE]
    assert after[TWO] > before[TWO]


async def test_what_an_earlier_run_has_left_goes_and_what_other_proxies_tell_stays(told: Told):
    for task, instance in ((ONE, told.spool.instance), (TWO, InstanceId("another"))):
        await told.progress.put(task, UploadProgress(task=task, instance=instance, name="old", created_at_ms=1))
    assert set(await told.now()) == {TWO}


async def test_what_has_come_is_told_however_short_an_upload_was(told: Told):
    await told.spool.create(Draft(task=ONE, name="field", created_at_ms=5))
    await uploads(told, ONE, 4_000)
    await told.spool.commit(ONE, 7)
    await told.now()
    entry = await (await told.bus.bucket(SPOOLS)).get(told.spool.instance)
    assert entry is not None
    assert (entry.value.received_bytes, entry.value.uploads_count) == (4_000, 0)


async def test_the_disk_under_the_spool_is_told_now_and_then(told: Told):
    spools = await told.bus.bucket(SPOOLS)
    await told.now()
    first = await spools.get(told.spool.instance)
    assert first is not None
    assert (first.value.free_bytes, first.value.total_bytes, first.value.uploads_count) == (30, 100, 0)
    await told.now()
    again = await spools.get(told.spool.instance)
    assert again is not None
    assert again.revision == first.revision
