"""How the files of upload requests become durable, and appear, together: whatever comes while groups are being published is the next.

    write        the files that have come as a whole; the others are written already
    write back   all files of the group are handed to the disk, before any is waited for: one commit of the journal covers most
    sync         each file
    link         each request's files under their names
    sync         each directory once, however many requests of the group have put names there

A request is answered when all of that is done for it, as if it were alone; what fails for one (no room, no such directory) fails for it alone.

Few threads work on groups, because a thread for each request costs more than the disk does: each of its calls gives the interpreter away and has to wait for it
again (72 futex calls a file with sixteen of them). There are two such lanes, so that one photo does not wait behind requests of
hundreds. Large requests go by themselves: nobody is to wait until their bytes are on the disk, and their threads work little.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import Final

from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.receipt import DiskPart, DiskReceipt
from clusterodm.services.proxy.spool.adapters.whole_part import WholePart

GROUP_FILES_COUNT: Final = 512
OPEN_COUNT: Final = 64
"""Files of a group that are open at the same time."""
GROUPS_COUNT: Final = 2
"""While one waits for the disk, the next one does too: a request waits for as many commits of the journal as alone."""
FEW_COUNT: Final = 8
SMALL_BYTES: Final = 1 << 20
LARGE_BYTES: Final = 16 << 20
Group = dict[DiskReceipt, "asyncio.Future[None]"]
"""Requests, and who waits for each."""


class Publisher:
    """A lane: publishes requests, a group at a time."""

    def __init__(self, threads: Executor, groups_count: int = GROUPS_COUNT) -> None:
        self._threads = threads
        self._groups_count = groups_count
        self._waiting: Group = {}
        self._working_count = 0

    def __repr__(self) -> str:
        """Show how many wait."""
        return f"Publisher(waiting={len(self._waiting)} working={self._working_count})"

    async def publish(self, receipt: DiskReceipt) -> None:
        """Publish a request, with others. Cancelled, it ends the work first, if it has begun: half done it would surprise the next one."""
        done = self._waiting[receipt] = asyncio.get_running_loop().create_future()
        if self._working_count < self._groups_count:
            self._begin()
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if self._waiting.pop(receipt, None) is None:
                await asyncio.wait([done])
                done.exception()
            raise

    def _begin(self) -> None:
        group: Group = {}
        files_count = 0
        while self._waiting and files_count < GROUP_FILES_COUNT:
            receipt = next(iter(self._waiting))
            group[receipt] = self._waiting.pop(receipt)
            files_count += receipt.files_count
        self._working_count += 1
        self._threads.submit(self._work, asyncio.get_running_loop(), group)

    def _work(self, loop: asyncio.AbstractEventLoop, group: Group) -> None:
        """Publish a group. Runs in a thread."""
        try:
            failed = publish_together(tuple(group))
        except Exception as error:  # noqa: BLE001 whatever it is, it is raised where each request waits
            failed = dict.fromkeys(group, error)
        loop.call_soon_threadsafe(self._end, group, failed)

    def _end(self, group: Group, failed: dict[DiskReceipt, Exception]) -> None:
        self._working_count -= 1
        if self._waiting:
            self._begin()
        for receipt, done in group.items():
            if trouble := failed.get(receipt):
                done.set_exception(trouble)
            else:
                done.set_result(None)


class PublishingLanes:
    """Which request is published with which others."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._few, self._many = Publisher(threads), Publisher(threads)

    def __repr__(self) -> str:
        """Show both."""
        return f"PublishingLanes(few={self._few!r} many={self._many!r})"

    async def publish(self, receipt: DiskReceipt) -> None:
        """Publish a request. Raises SpoolFull, OSError."""
        size_bytes = receipt.size_bytes
        if size_bytes > LARGE_BYTES:
            await Publisher(self._threads).publish(receipt)
        elif size_bytes <= SMALL_BYTES and receipt.files_count <= FEW_COUNT:
            await self._few.publish(receipt)
        else:
            await self._many.publish(receipt)


def publish_together(receipts: Sequence[DiskReceipt]) -> dict[DiskReceipt, Exception]:
    """Publish requests; those that failed, with the reason. Runs in a thread."""
    failed: dict[DiskReceipt, Exception] = {}
    parts = iter([(receipt, part) for receipt in receipts for part in receipt.parts])
    while some := list(islice(parts, OPEN_COUNT)):
        sync_parts(some, failed)
    folders: dict[str, list[DiskReceipt]] = {}
    for receipt in receipts:
        if receipt not in failed and attempt(receipt.link, receipt, failed):
            folders.setdefault(receipt.files_folder, []).append(receipt)
    for folder, ours in folders.items():
        if not attempt(partial(disk.flush, folder), ours[0], failed):
            failed.update(dict.fromkeys(ours, failed[ours[0]]))
    return failed


def sync_parts(parts: Sequence[tuple[DiskReceipt, DiskPart | WholePart]], failed: dict[DiskReceipt, Exception]) -> None:
    """Wait until files are on the disk."""
    for receipt, part in parts:
        if receipt not in failed:
            attempt(part.reopen, receipt, failed)
    if len(parts) > 1:
        for _, part in parts:
            part.write_back()
    for receipt, part in parts:
        if receipt not in failed:
            attempt(part.sync, receipt, failed)
        part.release()


def attempt(do: Callable[[], object], receipt: DiskReceipt, failed: dict[DiskReceipt, Exception]) -> bool:
    """Do something for a request; whether that worked."""
    try:
        do()
    except OSError as error:
        failed[receipt] = disk.refusal_of(error)
        return False
    except Exception as error:  # noqa: BLE001 whatever it is, it is its request's alone, and raised there
        failed[receipt] = error
        return False
    return True
