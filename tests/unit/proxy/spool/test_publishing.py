"""spool/adapters/publishing.py: requests that come together are made durable together, and each has its own fate."""

import asyncio
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.splice.kernel_pipes import SpliceThreads
from clusterodm.services.proxy.spool.adapters import disk, naming
from clusterodm.services.proxy.spool.adapters.claims import Claim, Claims
from clusterodm.services.proxy.spool.adapters.free_space import FreeSpace
from clusterodm.services.proxy.spool.adapters.publishing import (
    FEW_COUNT,
    REMOVED_COUNT,
    SMALL_BYTES,
    Publisher,
    PublishingLanes,
    publish_together,
)
from clusterodm.services.proxy.spool.adapters.receipt import DiskPart, DiskReceipt, WriteEarly
from clusterodm.services.proxy.spool.adapters.whole_part import BATCH_BYTES, KeptBatch, KeptRoom, WholePart
from clusterodm.services.proxy.spool.core.upload import StoredFile
from tests.waiting import until

Gate = threading.Event


async def nobody(batch: KeptBatch) -> None:
    raise AssertionError(f"{batch} is too little to be written early")


def a_claim(root: Path) -> Claim:
    clock = FakeClock()
    return Claims(FreeSpace(root, clock, reserve_bytes=0), clock).begin(0)


async def a_request(root: Path, *names: str, task: str = "t", content: bytes = b"photo") -> DiskReceipt:
    folder = root / task
    for each in (disk.PARTS, disk.FILES):
        (folder / each).mkdir(parents=True, exist_ok=True)
    receipt = DiskReceipt(str(folder), SpliceThreads(1), os.write, a_claim(root), KeptRoom(), nobody)
    for name in names:
        part = await receipt.open(name)
        part.write(content)
        part.close()
    return receipt


async def removed(receipt: DiskReceipt) -> None:
    with ThreadPoolExecutor(1) as threads:
        await PublishingLanes(threads).discard(receipt.let_go())


def stored(root: Path, task: str = "t") -> list[str]:
    return sorted(path.name for path in (root / task / disk.FILES).iterdir())


def open_files(folder: Path) -> int:
    links = map(link, list(Path("/proc/self/fd").iterdir()))
    return sum(path.startswith(str(folder)) for path in links)


def link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # it was of the listing itself
        return ""


async def test_requests_of_a_group_appear_each_in_its_task(tmp_path: Path) -> None:
    one = await a_request(tmp_path, "a.jpg", "b.jpg")
    other = await a_request(tmp_path, "a.jpg", task="u", content=b"another")
    assert publish_together([one, other]) == {}
    assert (stored(tmp_path), stored(tmp_path, "u")) == (["a.jpg", "b.jpg"], ["a.jpg"])
    assert one.published == [StoredFile(name="a.jpg", size_bytes=5), StoredFile(name="b.jpg", size_bytes=5)]
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []


async def test_files_of_one_name_are_kept_each_or_once_within_a_group(tmp_path: Path) -> None:
    requests = [await a_request(tmp_path, "a.jpg", content=content) for content in (b"1", b"1", b"2")]
    assert publish_together(requests) == {}
    assert [request.published[0].name for request in requests] == ["a.jpg", "a.jpg", "a_.jpg"]


async def test_more_files_than_may_be_open_at_once_are_published(tmp_path: Path) -> None:
    request = await a_request(tmp_path, *(f"{number}.jpg" for number in range(150)))
    assert publish_together([request]) == {}
    assert len(stored(tmp_path)) == 150


async def test_what_fails_for_one_request_fails_for_it_alone(tmp_path: Path) -> None:
    good, bad = await a_request(tmp_path, "a.jpg"), await a_request(tmp_path, "b.jpg", "c.jpg")
    bad.parts[1].discard()
    assert [type(trouble) for trouble in publish_together([bad, good]).values()] == [FileNotFoundError]
    assert stored(tmp_path) == ["a.jpg"]
    assert bad.published == []


async def test_a_directory_that_is_gone_fails_the_requests_that_it_was_of(tmp_path: Path) -> None:
    gone, good = await a_request(tmp_path, "a.jpg", task="gone"), await a_request(tmp_path, "a.jpg")
    (tmp_path / "gone" / disk.FILES).rmdir()
    assert list(publish_together([gone, good])) == [gone]
    assert stored(tmp_path) == ["a.jpg"]


async def test_a_part_that_is_not_complete_fails_its_request(tmp_path: Path) -> None:
    request = await a_request(tmp_path, "a.jpg")
    await request.open("b.jpg")
    assert [str(trouble) for trouble in publish_together([request]).values()] == [
        "a part of this request is not complete"
    ]
    assert stored(tmp_path) == []


async def test_no_file_stays_open_behind_a_request(tmp_path: Path) -> None:
    published, discarded = await a_request(tmp_path, "a.jpg", "b.jpg"), await a_request(tmp_path, "c.jpg")
    assert open_files(tmp_path) == 2
    publish_together([published])
    await removed(discarded)
    assert open_files(tmp_path) == 0


async def test_what_comes_while_a_group_is_published_is_the_next_group(tmp_path: Path) -> None:
    gate, calls = Gate(), []

    class Watched(DiskReceipt):
        def link(self) -> None:
            gate.wait(10)
            super().link()
            calls.append(self)

    with ThreadPoolExecutor(2) as threads:
        publisher = Publisher(threads, publish_together, groups_count=1)
        requests = [await a_request(tmp_path, f"{number}.jpg") for number in range(5)]
        for request in requests:
            request.__class__ = Watched
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.publish(requests[0]))
            await until(lambda: "working=1" in repr(publisher))
            for request in requests[1:]:
                group.create_task(publisher.publish(request))
            await until(lambda: "waiting=4" in repr(publisher))
            gate.set()
    assert calls == requests
    assert len(stored(tmp_path)) == 5


async def test_a_request_that_is_given_up_before_its_turn_is_not_published(tmp_path: Path) -> None:
    gate = Gate()
    first, second = await a_request(tmp_path, "a.jpg"), await a_request(tmp_path, "b.jpg")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(gate.wait, 10)
        publisher = Publisher(threads, publish_together, groups_count=1)
        async with asyncio.TaskGroup() as group:
            begun = group.create_task(publisher.publish(first))
            await until(lambda: "working=1" in repr(publisher))
            waiting = group.create_task(publisher.publish(second))
            await until(lambda: "waiting=1" in repr(publisher))
            waiting.cancel()
            begun.cancel()
            await asyncio.sleep(0)
            assert not begun.done()
            gate.set()
    assert stored(tmp_path) == ["a.jpg"]
    assert (begun.cancelled(), waiting.cancelled()) == (True, True)


@pytest.mark.parametrize(
    ("names_count", "size_bytes", "lane"),
    [(1, 5, "few"), (FEW_COUNT + 1, 5, "many"), (1, SMALL_BYTES + 1, "many")],
)
async def test_a_photo_does_not_wait_behind_requests_of_many(
    tmp_path: Path, names_count: int, size_bytes: int, lane: str
) -> None:
    gate = Gate()
    request = await a_request(tmp_path, *map(str, range(names_count)), content=b"x" * size_bytes)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(gate.wait, 10)
        lanes = PublishingLanes(threads)
        async with asyncio.TaskGroup() as group:
            group.create_task(lanes.publish(request))
            await until(lambda: f"{lane}=Publisher(waiting=0 working=1)" in repr(lanes))
            gate.set()
    assert len(stored(tmp_path)) == names_count


async def test_trouble_of_a_request_is_raised_where_it_is_published(tmp_path: Path) -> None:
    request = await a_request(tmp_path, "a.jpg")
    (tmp_path / "t" / disk.FILES).rmdir()
    with ThreadPoolExecutor(1) as threads, pytest.raises(FileNotFoundError):
        await PublishingLanes(threads).publish(request)


async def test_what_a_cut_request_has_brought_is_removed_by_a_thread_some_at_a_time_and_all_of_it(
    tmp_path: Path,
) -> None:
    gate, worked = Gate(), []
    request = await a_request(tmp_path, *map(str, range(2 * REMOVED_COUNT + 1)))
    parts = tmp_path / "t" / disk.PARTS
    with ThreadPoolExecutor(1) as threads:
        threads.submit(gate.wait, 10)
        async with asyncio.TaskGroup() as group:
            removing = group.create_task(PublishingLanes(threads).discard(request.let_go()))
            await asyncio.sleep(0)
            assert len(list(parts.iterdir())) == 2 * REMOVED_COUNT + 1
            removing.cancel()
            threads.submit(lambda: worked.append(len(list(parts.iterdir()))))
            gate.set()
    assert worked == [REMOVED_COUNT + 1]
    assert (list(parts.iterdir()), removing.cancelled()) == ([], True)


def a_receipt(
    root: Path,
    room: KeptRoom,
    write: disk.Write = os.write,
    write_early: WriteEarly = nobody,
    twins: naming.TwinNames | None = None,
) -> DiskReceipt:
    folder = root / "t"
    for each in (disk.PARTS, disk.FILES):
        (folder / each).mkdir(parents=True, exist_ok=True)
    return DiskReceipt(str(folder), SpliceThreads(1), write, a_claim(root), room, write_early, twins)


async def test_a_small_file_is_in_memory_until_it_is_published(tmp_path: Path) -> None:
    receipt = a_receipt(tmp_path, KeptRoom())
    receipt.keep("a.jpg", b"photo")
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []
    assert publish_together([receipt]) == {}
    assert (tmp_path / "t" / disk.FILES / "a.jpg").read_bytes() == b"photo"
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []
    assert open_files(tmp_path) == 0


async def test_files_beyond_the_room_in_memory_are_written_as_they_come(tmp_path: Path) -> None:
    room = KeptRoom(6)
    receipt, next_one = a_receipt(tmp_path, room), a_receipt(tmp_path, room)
    receipt.keep("a.jpg", b"photo")
    receipt.keep("b.jpg", b"photo")
    assert len(list((tmp_path / "t" / disk.PARTS).iterdir())) == 1
    assert publish_together([receipt]) == {}
    assert stored(tmp_path) == ["a.jpg", "b.jpg"]
    await removed(receipt)
    await removed(receipt)
    assert "left=6" in repr(room)
    next_one.keep("c.jpg", b"photo")
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []
    await removed(next_one)
    assert (stored(tmp_path), repr(room)) == (["a.jpg", "b.jpg"], "KeptRoom(left=6)")


async def test_a_small_file_whose_disk_is_full_is_refused_when_it_is_published(tmp_path: Path) -> None:
    def full(opened: int, content: bytes | bytearray | memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    receipt, good = a_receipt(tmp_path, KeptRoom(), full), await a_request(tmp_path, "b.jpg")
    receipt.keep("a.jpg", b"photo")
    assert [type(trouble) for trouble in publish_together([receipt, good]).values()] == [SpoolFull]
    await removed(receipt)
    assert (stored(tmp_path), open_files(tmp_path)) == (["b.jpg"], 0)
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []


async def test_a_small_file_of_an_upload_that_is_gone_is_not_found(tmp_path: Path) -> None:
    receipt = a_receipt(tmp_path, KeptRoom())
    receipt.keep("a.jpg", b"photo")
    (tmp_path / "t" / disk.PARTS).rmdir()
    assert [type(trouble) for trouble in publish_together([receipt]).values()] == [NotFound]


async def test_a_part_of_a_write_is_followed_by_the_rest(tmp_path: Path) -> None:
    receipt = a_receipt(tmp_path, KeptRoom(), lambda opened, content: os.write(opened, content[:2]))
    receipt.keep("a.jpg", b"photo")
    assert publish_together([receipt]) == {}
    assert (tmp_path / "t" / disk.FILES / "a.jpg").read_bytes() == b"photo"


async def test_many_small_files_of_a_request_are_on_the_disk_before_it_is_complete(tmp_path: Path) -> None:
    room = KeptRoom()
    with ThreadPoolExecutor(1) as threads:
        lanes = PublishingLanes(threads)
        receipt = a_receipt(tmp_path, room, write_early=lanes.write)
        receipt.keep("few.jpg", b"photo")
        await receipt.hand_over()
        assert (list((tmp_path / "t" / disk.PARTS).iterdir()), receipt.parts[0].synced) == ([], False)
        receipt.keep("a.jpg", b"x" * BATCH_BYTES)
        await receipt.hand_over()
        assert len(list((tmp_path / "t" / disk.PARTS).iterdir())) == 2
        assert [part.synced for part in receipt.parts] == [True, True]
        assert (repr(room), open_files(tmp_path)) == (repr(KeptRoom()), 0)
        receipt.keep("b.jpg", b"last")
        assert stored(tmp_path) == []
        await lanes.publish(receipt)
    await removed(receipt)
    assert (stored(tmp_path), repr(room)) == (["a.jpg", "b.jpg", "few.jpg"], repr(KeptRoom()))
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []


async def test_every_file_is_synced_once_before_it_has_its_name(tmp_path: Path) -> None:
    steps: list[str] = []

    class WatchedPart(WholePart):
        __slots__ = ()

        def sync(self) -> None:
            if self._file is not None:
                steps.append(self.name)
            super().sync()

    class Watched(DiskReceipt):
        def keep(self, filename: str, content: bytes) -> None:
            super().keep(filename, content)
            self.parts[-1].__class__ = WatchedPart

        def link(self) -> None:
            steps.append("names")
            super().link()

    with ThreadPoolExecutor(1) as threads:
        lanes = PublishingLanes(threads)
        receipt = a_receipt(tmp_path, KeptRoom(), write_early=lanes.write)
        receipt.__class__ = Watched
        receipt.keep("a.jpg", b"x" * BATCH_BYTES)
        await receipt.hand_over()
        receipt.keep("b.jpg", b"last")
        await lanes.publish(receipt)
    assert steps == ["a.jpg", "b.jpg", "names"]


async def test_a_batch_that_finds_no_room_fails_its_request_and_leaves_nothing(tmp_path: Path) -> None:
    def full(opened: int, content: bytes | bytearray | memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    room = KeptRoom()
    with ThreadPoolExecutor(1) as threads:
        receipt = a_receipt(tmp_path, room, full, PublishingLanes(threads).write)
        receipt.keep("a.jpg", b"x" * BATCH_BYTES)
        with pytest.raises(SpoolFull):
            await receipt.hand_over()
    await removed(receipt)
    assert (list((tmp_path / "t" / disk.PARTS).iterdir()), open_files(tmp_path)) == ([], 0)
    assert repr(room) == repr(KeptRoom())


async def test_a_batch_under_way_is_waited_for_however_often_its_request_is_cancelled(tmp_path: Path) -> None:
    gate, room = Gate(), KeptRoom()

    def slow(opened: int, content: bytes | bytearray | memoryview) -> int:
        gate.wait(10)
        return os.write(opened, content)

    with ThreadPoolExecutor(1) as threads:
        lanes = PublishingLanes(threads)
        receipt = a_receipt(tmp_path, room, slow, lanes.write)
        receipt.keep("a.jpg", b"x" * BATCH_BYTES)
        async with asyncio.TaskGroup() as group:
            handing = group.create_task(receipt.hand_over())
            await until(lambda: open_files(tmp_path) == 1)
            for _ in range(3):
                handing.cancel()
                await asyncio.sleep(0.01)
            assert not handing.done()
            gate.set()
    assert handing.cancelled()
    await removed(receipt)
    assert (list((tmp_path / "t" / disk.PARTS).iterdir()), open_files(tmp_path)) == ([], 0)
    assert repr(room) == repr(KeptRoom())


class FailsHalfWay(DiskReceipt):
    """A request that meets another one, and then a disk that fails."""

    meets: DiskReceipt | None = None

    def _link(self, part: DiskPart | WholePart) -> StoredFile:
        if not self.added:
            return super()._link(part)
        if self.meets is not None:
            self.meets.link()
        raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_a_request_that_fails_half_way_takes_back_what_has_its_name(tmp_path: Path) -> None:
    receipt = a_receipt(tmp_path, KeptRoom())
    receipt.__class__ = FailsHalfWay
    for name in ("a.jpg", "b.jpg"):
        receipt.keep(name, b"photo")
    assert [type(trouble) for trouble in publish_together([receipt]).values()] == [OSError]
    await removed(receipt)
    assert (stored(tmp_path), receipt.added, receipt.published) == ([], {}, [])
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []


@pytest.mark.parametrize(("content", "stays"), [(b"photo", ["a.jpg"]), (b"other", ["a_.jpg"])])
async def test_what_another_request_has_found_to_be_its_twin_is_not_taken_back(
    tmp_path: Path, content: bytes, stays: list[str]
) -> None:
    twins = naming.TwinNames()
    receipt, other = (a_receipt(tmp_path, KeptRoom(), twins=twins) for _ in range(2))
    other.keep("a.jpg", content)
    for part in other.parts:
        part.reopen()
    failing = receipt
    failing.__class__ = FailsHalfWay
    failing.meets = other  # type: ignore[attr-defined] # by its class
    for name in ("a.jpg", "b.jpg"):
        failing.keep(name, b"photo")
    publish_together([failing])
    assert (stored(tmp_path), list(failing.added)) == (stays, [name for name in stays if name == "a.jpg"])


def test_a_name_that_is_taken_back_while_it_is_compared_is_free(tmp_path: Path) -> None:
    def taken_back(name: str) -> bool:
        (folder / name).unlink()
        raise FileNotFoundError(name)

    part, folder = tmp_path / "part", tmp_path / "files"
    folder.mkdir()
    for path in (part, folder / "a.jpg"):
        path.write_bytes(b"photo")
    assert naming.name_one(str(part), "a.jpg", str(folder), taken_back) == ("a.jpg", True)


@pytest.mark.parametrize("is_same", [True, False])
def test_nothing_is_taken_back_while_another_compares_itself_with_it(tmp_path: Path, is_same: bool) -> None:
    twins, begun, gate, given = naming.TwinNames(), Gate(), Gate(), StoredFile(name="a.jpg", size_bytes=5)
    (tmp_path / "a.jpg").write_bytes(b"photo")

    def compare() -> bool:
        begun.set()
        gate.wait(10)
        return is_same

    with ThreadPoolExecutor(2) as threads:
        comparing = threads.submit(twins.is_twin, "a.jpg", compare)
        assert begun.wait(10)
        taking = threads.submit(twins.take_back, str(tmp_path), {"a.jpg": given})
        other = StoredFile(name="b.jpg", size_bytes=5)
        assert twins.take_back(str(tmp_path), {"b.jpg": other}) == {}, "of others nobody waits"
        assert (tmp_path / "a.jpg").exists()
        gate.set()
        assert (comparing.result(), taking.result()) == (is_same, {} if is_same else {"a.jpg": given})
    assert (tmp_path / "a.jpg").exists() is is_same


class LosesItsDirectory(DiskReceipt):
    """A request whose directory does not get onto the disk once the last of its group has its names; it is there again when names are taken back."""

    is_last = False

    def link(self) -> None:
        super().link()
        if self.is_last:
            Path(self.files_folder).rename(f"{self.files_folder}.away")

    def take_back(self) -> None:
        away = Path(f"{self.files_folder}.away")
        if away.exists():
            away.rename(self.files_folder)
        super().take_back()


async def test_a_directory_that_does_not_get_onto_the_disk_keeps_no_name_of_its_requests(tmp_path: Path) -> None:
    before, good = await a_request(tmp_path, "before.jpg"), await a_request(tmp_path, "a.jpg", task="u")
    assert publish_together([before]) == {}
    twins, photo = naming.TwinNames(), StoredFile(name="a.jpg", size_bytes=5)
    giver, alone, twin = requests = [a_receipt(tmp_path, KeptRoom(), twins=twins) for _ in range(3)]
    for request, name in zip(requests, ("a.jpg", "b.jpg", "a.jpg"), strict=True):
        request.keep(name, b"photo")
        request.__class__ = LosesItsDirectory
    twin.is_last = True  # type: ignore[attr-defined] # by its class
    failed = publish_together([*requests, good])
    assert [type(failed[request]) for request in requests] == [FileNotFoundError] * 3
    assert good not in failed
    assert (stored(tmp_path), stored(tmp_path, "u")) == (["before.jpg"], ["a.jpg"])
    assert [request.published for request in requests] == [[], [], []]
    assert (giver.added, giver.freed) == ({"a.jpg": photo}, []), "what relied on it took it back"
    assert (alone.added, alone.freed) == ({}, [])
    assert (twin.added, twin.freed) == ({}, [photo])
    for request in requests:
        await removed(request)
    assert list((tmp_path / "t" / disk.PARTS).iterdir()) == []


@pytest.mark.parametrize(
    ("fail", "stays"),
    [
        pytest.param((0, 1, 2), False, id="all, the giver first"),
        pytest.param((2, 1, 0), False, id="all, the giver last"),
        pytest.param((0, 1), True, id="all but one that relies on it"),
        pytest.param((1, 2), True, id="those that rely on it"),
    ],
)
async def test_a_name_goes_with_the_last_of_those_that_rely_on_it(
    tmp_path: Path, fail: tuple[int, ...], stays: bool
) -> None:
    twins = naming.TwinNames()
    requests = [a_receipt(tmp_path, KeptRoom(), twins=twins) for _ in range(3)]
    for request in requests:
        request.keep("a.jpg", b"photo")
        request.keep("a.jpg", b"photo")
    assert publish_together(requests) == {}
    for number in fail:
        requests[number].take_back()
    assert stored(tmp_path) == ["a.jpg"] * stays
    counted = sum(len(request.added) - len(request.freed) for request in requests)
    assert counted == stays


async def test_a_file_that_cannot_be_closed_fails_its_request_alone(tmp_path: Path) -> None:
    class Unclosed(WholePart):
        __slots__ = ()

        def release(self) -> None:
            opened = self._file
            super().release()
            if opened is not None:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    bad, good = (a_receipt(tmp_path, KeptRoom()) for _ in range(2))
    for request, name in ((bad, "bad.jpg"), (good, "good.jpg")):
        request.keep(name, b"photo")
    bad.parts[0].__class__ = Unclosed
    assert [(request is bad, type(trouble)) for request, trouble in publish_together([bad, good]).items()] == [
        (True, SpoolFull)
    ]
    await removed(bad)
    assert (stored(tmp_path), list((tmp_path / "t" / disk.PARTS).iterdir())) == (["good.jpg"], [])
