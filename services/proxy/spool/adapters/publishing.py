"""How the files of upload requests become durable, and appear, together: whatever comes while groups are being published is the next.

    write        the files that have come as a whole; the others, and batches of a large request, are written already
    write back   all files of the group are handed to the disk, before any is waited for: one commit of the journal covers most
    sync         each file that is not synced already, in a batch
    link         each request's files under their names
    sync         each directory once, however many requests of the group have put names there

A request is answered when all of that is done for it, as if it were alone; what fails for one (no room, no such directory) fails for it alone, and leaves
no name: a directory that does not get onto the disk gives back those of its requests.

A request of many small files does not keep them all until its end: what has come so far is written and synced in batches while the rest arrives
(`write_together`), for as many requests at once as have some; such a batch has its bytes on the disk, and names only with its request.

Few threads work on groups, because a thread for each request costs more than the disk does: each of its calls gives the interpreter away and has to wait for it
again (72 futex calls a file with sixteen of them). There are two such lanes, so that one photo does not wait behind requests of
hundreds. Large requests go by themselves: nobody is to wait until their bytes are on the disk, and their threads work little.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from clusterodm.libs.common.process.threads import in_thread, outlast
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.receipt import DiskPart, DiskReceipt
from clusterodm.services.proxy.spool.adapters.whole_part import KeptBatch, WholePart

GROUP_FILES_COUNT: Final = 512
OPEN_COUNT: Final = 64
"""Files of a group that are open at the same time."""
GROUPS_COUNT: Final = 2
"""While one waits for the disk, the next one does too: a request waits for as many commits of the journal as alone."""
REMOVED_COUNT: Final = 256
"""Files of a request that was cut or refused which are removed in one go."""
FEW_COUNT: Final = 8
SMALL_BYTES: Final = 1 << 20
LARGE_BYTES: Final = 16 << 20


class Groupable(Protocol):
    """A request, or a batch of its files."""

    @property
    def files_count(self) -> int:
        """How many files it has."""


Item = TypeVar("Item", bound=Groupable)
Together = Callable[[Sequence[Item]], dict[Item, Exception]]
"""Makes several durable in a thread; those that failed, with the reason."""


Ended = Callable[[Exception | None], object]
"""Called from the loop: None, or why it failed."""


class Publisher(Generic[Item]):
    """A lane: makes requests, or batches of their files, durable, a group at a time."""

    def __init__(self, threads: Executor, together: Together[Item], groups_count: int = GROUPS_COUNT) -> None:
        self._threads = threads
        self._together = together
        self._groups_count = groups_count
        self._waiting: dict[Item, Ended] = {}
        """And who is told of the end of each."""
        self._working_count = 0

    def __repr__(self) -> str:
        """Show how many wait."""
        return f"Publisher(waiting={len(self._waiting)} working={self._working_count})"

    async def publish(self, item: Item) -> None:
        """Publish one, with others. Cancelled, however often, it ends the work first, if it has begun: half done it would surprise the next one."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start(item, partial(finish, done))
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if self._waiting.pop(item, None) is None:
                await outlast(done)
                done.exception()
            raise

    def start(self, item: Item, ended: Ended) -> None:
        """Publish one, with others, and tell of its end."""
        self._waiting[item] = ended
        if self._working_count < self._groups_count:
            self._begin()

    def _begin(self) -> None:
        group: dict[Item, Ended] = {}
        files_count = 0
        while self._waiting and files_count < GROUP_FILES_COUNT:
            item = next(iter(self._waiting))
            group[item] = self._waiting.pop(item)
            files_count += item.files_count
        self._working_count += 1
        self._threads.submit(self._work, asyncio.get_running_loop(), group)

    def _work(self, loop: asyncio.AbstractEventLoop, group: dict[Item, Ended]) -> None:
        """Publish a group. Runs in a thread."""
        try:
            failed = self._together(tuple(group))
        except Exception as error:  # noqa: BLE001 whatever it is, it is raised where each request waits
            failed = dict.fromkeys(group, error)
        loop.call_soon_threadsafe(self._end, group, failed)

    def _end(self, group: dict[Item, Ended], failed: dict[Item, Exception]) -> None:
        loop = asyncio.get_running_loop()
        for item, ended in group.items():
            loop.call_soon(ended, failed.get(item))  # each by itself: what goes wrong there is no other's
        self._working_count -= 1
        if self._waiting:
            self._begin()


def finish(done: asyncio.Future[None], error: Exception | None) -> None:
    """Tell who awaits the end."""
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


class PublishingLanes:
    """Which request is published with which others."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._few, self._many = Publisher(threads, publish_together), Publisher(threads, publish_together)
        self._early = Publisher(threads, write_together)

    def __repr__(self) -> str:
        """Show all."""
        return f"PublishingLanes(few={self._few!r} many={self._many!r} early={self._early!r})"

    async def write(self, batch: KeptBatch) -> None:
        """Have files on the disk before their request is complete. Raises NotFound, SpoolFull, OSError."""
        await self._early.publish(batch)

    async def publish(self, receipt: DiskReceipt) -> None:
        """Publish a request. Raises SpoolFull, OSError."""
        await self._lane_of(receipt).publish(receipt)

    def start(self, receipt: DiskReceipt, ended: Ended) -> None:
        """Publish a request, and tell of its end."""
        self._lane_of(receipt).start(receipt, ended)

    def _lane_of(self, receipt: DiskReceipt) -> Publisher[DiskReceipt]:
        size_bytes = receipt.size_bytes
        if size_bytes > LARGE_BYTES:
            return Publisher(self._threads, publish_together)
        return self._few if size_bytes <= SMALL_BYTES and receipt.files_count <= FEW_COUNT else self._many

    def discard_soon(self, left: Sequence[disk.PartFile]) -> None:
        """Remove the few files of a short request; nobody waits for it."""
        if left:
            self._threads.submit(discard_all, left)

    async def discard(self, left: Sequence[disk.PartFile]) -> None:
        """Remove what a request has brought and is not published, some at a time: others work in these threads too. Cancelled, it removes all of it first."""
        cancelled = None
        for start in range(0, len(left), REMOVED_COUNT):
            try:
                await in_thread(self._threads, partial(discard_all, left[start : start + REMOVED_COUNT]))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def publish_together(receipts: Sequence[DiskReceipt]) -> dict[DiskReceipt, Exception]:
    """Publish requests; those that failed, with the reason. Runs in a thread."""
    failed: dict[DiskReceipt, Exception] = {}
    sync_all(((receipt, part) for receipt in receipts for part in receipt.parts if not part.synced), failed)
    folders: dict[str, list[DiskReceipt]] = {}
    for receipt in receipts:
        if receipt not in failed and attempt(receipt.link, receipt, failed):
            folders.setdefault(receipt.files_folder, []).append(receipt)
    for folder, ours in folders.items():
        if not attempt(partial(disk.flush, folder), ours[0], failed):
            failed.update(dict.fromkeys(ours, failed[ours[0]]))
            for receipt in ours:
                attempt(receipt.take_back, receipt, failed)
    return failed


def discard_all(parts: Sequence[disk.PartFile]) -> None:
    """Remove files. Runs in a thread."""
    for part in parts:
        part.discard()


def write_together(batches: Sequence[KeptBatch]) -> dict[KeptBatch, Exception]:
    """Write and sync files whose requests go on; those batches that failed, with the reason. Runs in a thread."""
    failed: dict[KeptBatch, Exception] = {}
    sync_all(((batch, part) for batch in batches for part in batch.parts), failed)
    return failed


def sync_all(parts: Iterable[tuple[Item, DiskPart | WholePart]], failed: dict[Item, Exception]) -> None:
    """Wait until files are on the disk, so many at a time."""
    left = iter(parts)
    while some := list(islice(left, OPEN_COUNT)):
        sync_parts(some, failed)


def sync_parts(parts: Sequence[tuple[Item, DiskPart | WholePart]], failed: dict[Item, Exception]) -> None:
    """Wait until some files are on the disk."""
    for item, part in parts:
        if item not in failed:
            attempt(part.reopen, item, failed)
    if len(parts) > 1:
        for _, part in parts:
            part.write_back()
    for item, part in parts:
        if item not in failed:
            attempt(part.sync, item, failed)
        attempt(part.release, item, failed)


def attempt(do: Callable[[], object], item: Item, failed: dict[Item, Exception]) -> bool:
    """Do something for a request or a batch; whether that worked."""
    try:
        do()
    except OSError as error:
        failed[item] = disk.refusal_of(error)
        return False
    except Exception as error:  # noqa: BLE001 whatever it is, it is its request's alone, and raised there
        failed[item] = error
        return False
    return True
