"""spool/adapters/announcements.py: what KV `uploads` says of a spool whose uploads come and go meanwhile."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Loaded
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.announcements import UploadAnnouncements
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool
from clusterodm.services.proxy.spool.core.upload import Draft
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
DRAFT = Draft(task=TASK, name="t", created_at_ms=1)
US, OTHERS = InstanceId("us"), InstanceId("others")


class BusyBucket(MemoryBucket[Upload]):
    """Something is written as soon as all of it has been read."""

    written: Upload | None = None

    async def load(self) -> Loaded[Upload]:
        loaded = await super().load()
        if self.written is not None:
            await self.create(self.written.task, self.written)
        return loaded


class HeldRemovals(ThreadPoolExecutor):
    """Threads that remove nothing before they may."""

    def __init__(self) -> None:
        super().__init__(4)
        self.may_go = threading.Event()
        self.is_held = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        removes = any(isinstance(each, partial) and each.func is disk.remove for each in args)
        return super().submit(partial(self._held, fn) if removes else fn, *args, **named)

    def _held(self, fn: Callable[..., Any], *args: Any) -> Any:
        self.is_held.set()
        assert self.may_go.wait(10)
        return fn(*args)


@pytest.mark.parametrize(
    ("instance", "said"),
    [pytest.param(US, [], id="ours"), pytest.param(OTHERS, ["upload.held_twice"], id="another proxy's")],
)
async def test_what_is_announced_while_all_are_read_is_held_twice_only_if_another_has_it(
    instance: InstanceId, said: list[str]
) -> None:
    uploads = BusyBucket(MemoryBus(), UPLOADS)
    uploads.written = Upload(task=TASK, instance=instance, url="http://p", created_at_ms=0)
    announcements = UploadAnnouncements(uploads, US, "http://p")
    with capture_logs() as lines:
        await announcements.reconcile(lambda: [DRAFT])
    assert [line["event"] for line in lines] == said


async def test_who_begins_anew_while_the_former_upload_is_removed_is_announced(tmp_path: Path) -> None:
    uploads, threads = await MemoryBus().bucket(UPLOADS), HeldRemovals()
    with threads:
        spool = DiskSpool(tmp_path, uploads, "http://p", threads, clock=FakeClock())
        await spool.create(DRAFT)
        discarding = asyncio.create_task(spool.discard(TASK))  # noqa: TID251 the test ends it
        await until(threads.is_held.is_set)
        await spool.create(DRAFT)
        threads.may_go.set()
        await discarding
        assert set(await uploads.load()) == {TASK}
        await spool.discard(TASK)
        assert set(await uploads.load()) == set()
        spool.close()
