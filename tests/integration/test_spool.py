"""adapters/spool.py and what it stands on, on a real disk."""

import asyncio
import errno
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.tasks import KnownAttempt, StagedFiles
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import IncarnationId, InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.errors import SpoolFull, SpoolLost, SpoolRefused
from clusterodm.services.proxy.spool.adapters.notes import HISTORY_BYTES, NotesRoom, load_history
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool, open_spool
from clusterodm.services.proxy.spool.adapters.whole_part import KeptRoom
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft, Mark, StoredFile
from clusterodm.services.proxy.spool.ports import Receipt, Spool
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
OTHER = TaskId("11111111-2222-4333-8444-555555555556")
URL = "http://proxy-1:3000"


def a_draft(task: TaskId = TASK, **fields: object) -> Draft:
    return Draft(**({"task": task, "name": "survey", "created_at_ms": 5, "received_at_ms": 7} | fields))  # type: ignore[arg-type]


class Disk:
    """A write that fails like a full disk after so many bytes."""

    def __init__(self) -> None:
        self.room_bytes = 1 << 60

    def write(self, file: int, chunk: bytes | bytearray | memoryview) -> int:
        if self.room_bytes <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(file, memoryview(chunk)[: self.room_bytes])
        self.room_bytes -= written
        return written


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def disk() -> Disk:
    return Disk()


Opener = Callable[[], AbstractAsyncContextManager[DiskSpool]]


@pytest.fixture
def clock() -> FakeClock:
    """The clocks of the spool, turned by the test."""
    return FakeClock()


@pytest.fixture
def reopen(tmp_path: Path, bus: MemoryBus, disk: Disk, clock: FakeClock) -> Opener:
    """Open the spool of this test, again after it was closed."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[DiskSpool]:
        uploads = await bus.bucket(UPLOADS)
        async with open_spool(
            tmp_path / "spool", uploads, URL, clock=clock, reserve_bytes=0, write=disk.write
        ) as spool:
            yield spool

    return opened


@pytest.fixture
async def spool(reopen: Opener) -> AsyncIterator[DiskSpool]:
    async with reopen() as opened:
        await opened.create(a_draft())
        yield opened


async def put(receipt: Receipt, name: str, *chunks: bytes) -> None:
    part = await receipt.open(name)
    for chunk in chunks:
        part.write(chunk)
    part.close()


async def upload(spool: Spool, *files: tuple[str, bytes], task: TaskId = TASK) -> None:
    async with spool.receive(task) as receipt:
        for name, content in files:
            await put(receipt, name, content)


def stored(spool: DiskSpool, task: TaskId = TASK) -> dict[str, bytes]:
    folder = spool.path(task, "x").parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(spool: DiskSpool, task: TaskId = TASK) -> list[Path]:
    return list((spool.path(task, "x").parent.parent / "parts").iterdir())


async def committed(spool: Spool) -> None:
    """Close an upload of one file."""
    await spool.create(a_draft())
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=2)


async def uploads_known(bus: MemoryBus) -> dict[str, Upload]:
    return {key: entry.value for key, entry in (await (await bus.bucket(UPLOADS)).load()).items()}


# --- init ----------------------------------------------------------------------------------------------------------


async def test_a_new_upload_is_announced(spool: DiskSpool, bus: MemoryBus) -> None:
    expected = Upload(task=TASK, instance=spool.instance, url=URL, created_at_ms=7, owner=Owner(""))
    assert await uploads_known(bus) == {TASK: expected}


async def test_the_draft_is_kept_across_a_restart(reopen: Opener) -> None:
    draft = a_draft(
        options=(OptionValue("dsm", True), OptionValue("crop", 2.5)), webhook="http://me/?s=1", owner=Owner("me")
    )
    async with reopen() as spool:
        await spool.create(draft)
    async with reopen() as spool:
        assert spool.draft(TASK) == draft
        assert [held.committed for held in spool.held()] == [False]


async def test_the_spool_keeps_its_name_across_restarts(reopen: Opener) -> None:
    async with reopen() as spool:
        first = spool.instance
    async with reopen() as spool:
        assert spool.instance == first


async def test_two_proxies_never_share_a_spool(spool: DiskSpool, reopen: Opener) -> None:
    with pytest.raises(SpoolRefused, match="another proxy is using the spool"):
        async with reopen():
            pass


async def test_init_again_keeps_the_files_and_takes_the_new_draft(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"one"))
    await spool.create(a_draft(name="second"))
    assert spool.draft(TASK).name == "second"
    assert stored(spool) == {"a.jpg": b"one"}


async def test_the_upload_of_another_owner_is_not_taken_over(spool: DiskSpool) -> None:
    await spool.create(a_draft(OTHER, owner=Owner("me")))
    with pytest.raises(Refused, match=f"Invalid set-uuid: {OTHER}"):
        await spool.create(a_draft(OTHER, owner=Owner("thief")))


async def test_an_id_that_another_proxy_holds_is_refused_and_leaves_nothing(spool: DiskSpool, bus: MemoryBus) -> None:
    theirs = Upload(task=OTHER, instance=InstanceId("them"), url="http://them", created_at_ms=1)
    await (await bus.bucket(UPLOADS)).put(OTHER, theirs)
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await spool.create(a_draft(OTHER))
    assert [held.draft.task for held in spool.held()] == [TASK]
    assert (await uploads_known(bus))[OTHER] == theirs
    assert not spool.path(TASK, "x").parent.parent.parent.joinpath(OTHER).exists()


async def test_without_nats_an_init_fails_and_leaves_nothing(spool: DiskSpool, bus: MemoryBus) -> None:
    bus.connected = False
    with pytest.raises(BusFailed):
        await spool.create(a_draft(OTHER))
    with pytest.raises(NotFound):
        spool.draft(OTHER)


async def test_ids_in_another_letter_case_are_other_tasks(spool: DiskSpool) -> None:
    upper = TaskId("ABCDEF01-2222-4333-8444-555555555555")
    lower = TaskId(upper.lower())
    await spool.create(a_draft(upper))
    await spool.create(a_draft(lower))
    await upload(spool, ("a.jpg", b"1"), task=upper)
    assert stored(spool, lower) == {}


# --- upload --------------------------------------------------------------------------------------------------------


async def test_a_file_appears_only_when_its_request_is_complete(spool: DiskSpool) -> None:
    async with spool.receive(TASK) as receipt:
        await put(receipt, "a.jpg", b"12", b"34")
        await put(receipt, "b.jpg")
        assert stored(spool) == {}
        assert receipt.files_count == 2
    assert stored(spool) == {"a.jpg": b"1234", "b.jpg": b""}
    assert leftovers(spool) == []


async def test_a_request_that_fails_leaves_nothing_of_any_of_its_files(spool: DiskSpool) -> None:
    async def break_off() -> None:
        async with spool.receive(TASK) as receipt:
            await put(receipt, "a.jpg", b"1")
            part = await receipt.open("b.jpg")
            part.write(b"half")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await break_off()
    assert stored(spool) == {}
    assert leftovers(spool) == []


async def test_a_cancelled_request_leaves_nothing(spool: DiskSpool) -> None:
    async def hang() -> None:
        async with spool.receive(TASK) as receipt:
            part = await receipt.open("b.jpg")
            part.write(b"half")
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(hang())
        await until(lambda: leftovers(spool), what="a part")
        assert spool.held()[0].receiving
        hanging.cancel()
    assert leftovers(spool) == []
    assert not spool.held()[0].receiving


async def test_the_same_file_again_is_one_file(spool: DiskSpool) -> None:
    for _ in range(3):
        await upload(spool, ("a.jpg", b"same"))
    assert stored(spool) == {"a.jpg": b"same"}


async def test_the_same_name_with_other_content_is_another_file(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"one"), ("a.jpg", b"two"), ("noext", b"1"), ("noext", b"2"))
    await upload(spool, ("a.jpg", b"six"), ("a.jpg", b"two"))
    assert stored(spool) == {
        "a.jpg": b"one",
        "a_.jpg": b"two",
        "a__.jpg": b"six",
        "noext": b"1",
        "noext_": b"2",
    }


async def test_parallel_uploads_of_one_name_lose_nothing_and_double_nothing(spool: DiskSpool) -> None:
    contents = [b"%03d" % (number % 20) * 1000 for number in range(60)]
    async with asyncio.TaskGroup() as group:
        for content in contents:
            group.create_task(upload(spool, ("a.jpg", content)))
    kept = stored(spool)
    assert sorted(kept.values()) == sorted(set(contents))
    assert leftovers(spool) == []


async def given_whole(spool: DiskSpool, files: Sequence[tuple[str, bytes]]) -> Sequence[StoredFile]:
    heard, told = asyncio.Event(), list[StoredFile]()

    def ended(published: Sequence[StoredFile] | None) -> None:
        told.extend(published or ())
        heard.set()

    spool.store(TASK, files, 9, ended)
    await heard.wait()
    return told


async def given_in_parts(spool: DiskSpool, files: Sequence[tuple[str, bytes]]) -> Sequence[StoredFile]:
    with suppress(Refused):
        async with spool.receive(TASK, 9) as receipt:
            for number, (name, content) in enumerate(files):
                if number % 2:
                    receipt.keep(name, content)
                else:
                    await put(receipt, name, content)
        return receipt.published
    return ()


async def test_of_requests_of_the_same_names_that_fail_and_succeed_at_once_what_was_told_is_kept_and_no_more(
    spool: DiskSpool,
) -> None:
    by_chance, told, numbers = Random(153), dict[str, bytes](), count()
    longest = "x" * 255
    await upload(spool, (longest, b"first"))

    async def request() -> None:
        files = [(by_chance.choice(("a.jpg", "b.jpg")), by_chance.choice((b"1", b"22", b"23"))) for _ in range(3)]
        way = by_chance.random()
        if way < 0.3:
            files += [(f"only-here-{next(numbers)}.jpg", b"4444"), (longest, b"second")]
            by_chance.shuffle(files)
        if way < 0.15 or way > 0.6:
            published = await given_whole(spool, files)
        else:
            published = await given_in_parts(spool, files)
        if published:
            assert way >= 0.3
            told.update((file.name, content) for file, (_, content) in zip(published, files, strict=True))

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            requesting = group.create_task(request())
            if by_chance.random() < 0.1:
                asyncio.get_running_loop().call_later(by_chance.random() / 100, requesting.cancel)
            await asyncio.sleep(0)
    await until(lambda: leftovers(spool) == [] and not spool.held()[0].receiving)
    kept = stored(spool)
    assert {name: kept[name] for name in told} == told
    assert [name for name in kept if "only-here" in name] == []
    (held,) = spool.held()
    assert held.stored_bytes == sum(map(len, kept.values()))
    assert (repr(spool._kept_room), repr(spool._claims)) == (repr(KeptRoom()), "Claims(0 claimed=0)")


async def test_files_that_differ_only_at_the_end_are_told_apart(spool: DiskSpool) -> None:
    big = bytes(3 << 20)
    await upload(spool, ("a.jpg", big + b"1"))
    await upload(spool, ("a.jpg", big + b"2"))
    assert sorted(stored(spool)) == ["a.jpg", "a_.jpg"]


@pytest.mark.parametrize("name", ["a\0.jpg", "x" * 300])
async def test_a_name_that_cannot_be_kept_fails_the_whole_request(spool: DiskSpool, name: str) -> None:
    with pytest.raises(Refused, match="Invalid file name"):
        await upload(spool, ("good.jpg", b"1"), (name, b"2"))
    assert stored(spool) == {}
    assert leftovers(spool) == []


async def test_further_names_that_would_be_too_long_are_refused(spool: DiskSpool) -> None:
    await upload(spool, ("x" * 255, b"1"))
    with pytest.raises(Refused, match="longer than 255 bytes"):
        await upload(spool, ("x" * 255, b"2"))
    assert stored(spool) == {"x" * 255: b"1"}
    assert leftovers(spool) == []


@pytest.mark.parametrize("task", [OTHER, "../../etc", ""])
async def test_an_unknown_task_takes_no_upload(spool: DiskSpool, task: str) -> None:
    with pytest.raises(NotFound, match=NO_SUCH_UPLOAD):
        await upload(spool, ("a.jpg", b"1"), task=TaskId(task))


async def test_a_full_disk_refuses_the_upload_and_keeps_nothing_of_it(spool: DiskSpool, disk: Disk) -> None:
    await upload(spool, ("first.jpg", b"1"))
    disk.room_bytes = 300_000
    with pytest.raises(SpoolFull, match="no room"):
        await upload(spool, ("small.jpg", b"2"), ("big.jpg", bytes(400_000)))
    assert stored(spool) == {"first.jpg": b"1"}
    assert leftovers(spool) == []
    disk.room_bytes = 1 << 60
    await upload(spool, ("small.jpg", b"2"))
    assert sorted(stored(spool)) == ["first.jpg", "small.jpg"]


async def test_uploads_stop_before_the_disk_is_full(tmp_path: Path, bus: MemoryBus) -> None:
    async with open_spool(tmp_path, await bus.bucket(UPLOADS), URL, reserve_bytes=1 << 60) as spool:
        with pytest.raises(SpoolFull):
            await spool.create(a_draft())
        assert spool.held() == []


# --- commit --------------------------------------------------------------------------------------------------------


class FullNotesRoom(NotesRoom):
    """Finds no room for any note."""

    def write(self, path: Path, content: bytes) -> None:
        raise SpoolFull(f"{len(content)} bytes for {path.name}")


async def test_a_commit_that_finds_no_room_for_its_manifest_leaves_the_upload_open(
    spool: DiskSpool, tmp_path: Path
) -> None:
    await upload(spool, ("a.jpg", b"1"))
    room, spool._notes_room = spool._notes_room, FullNotesRoom(tmp_path / "room")
    with pytest.raises(SpoolFull):
        await spool.commit(TASK, 1)
    assert stored(spool) == {"a.jpg": b"1"}
    spool._notes_room = room
    await upload(spool, ("b.jpg", b"2"))
    assert [file.name for file in (await spool.commit(TASK, 2)).files] == ["a.jpg", "b.jpg"]


class NotesRoomWithoutSync(NotesRoom):
    """Gives a note its name and then fails, as where a directory does not get onto the disk."""

    def write(self, path: Path, content: bytes) -> None:
        super().write(path, content)
        raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_a_commit_whose_manifest_does_not_get_onto_the_disk_leaves_the_upload_open(
    reopen: Opener, tmp_path: Path
) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"1"))
        spool._notes_room = NotesRoomWithoutSync(tmp_path / "room")
        with pytest.raises(OSError, match="Input/output error"):
            await spool.commit(TASK, 1)
    async with reopen() as spool:
        await upload(spool, ("b.jpg", b"2"))
        assert [file.name for file in (await spool.commit(TASK, 2)).files] == ["a.jpg", "b.jpg"]


async def test_what_failed_uploads_take_back_is_not_counted_any_more(spool: DiskSpool) -> None:
    (entry, giver), (_, twin) = requests = [spool.begin_receiving(TASK, 0) for _ in range(2)]
    for _, receipt in requests:
        receipt.keep("a.jpg", b"photo")
        receipt.parts[0].reopen()
        receipt.link()
        entry.begin_publishing()
    counted = list[int]()
    for _, receipt in requests:
        receipt.take_back()
        spool._end_publishing(entry, receipt, well=False)
        counted.append(spool.stored_bytes(Owner("")))
        await spool.remove(spool.end_receiving(entry, receipt))
    assert (giver.added.keys(), counted) == ({"a.jpg"}, [5, 0]), "the other one relied on it until it failed, too"
    assert (twin.freed, stored(spool), leftovers(spool)) == (list(giver.added.values()), {}, [])


async def test_a_commit_says_what_is_there(spool: DiskSpool) -> None:
    await upload(spool, ("b.jpg", b"22"), ("a.jpg", b"1"), ("gcp.txt", b"333"), ("seed.zip", b"4444"))
    manifest = await spool.commit(TASK, at_ms=99)
    assert [file.name for file in manifest.files] == ["a.jpg", "b.jpg", "gcp.txt", "seed.zip"]
    assert (manifest.images_count, manifest.size_bytes, manifest.has_seed) == (2, 10, True)
    assert manifest.committed_at_ms == 99


async def test_a_commit_again_gives_the_same_answer_also_after_a_restart(reopen: Opener) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"1"))
        first = await spool.commit(TASK, at_ms=99)
        assert await spool.commit(TASK, at_ms=100) == first
    async with reopen() as spool:
        assert await spool.commit(TASK, at_ms=101) == first
        assert spool.held()[0].committed


async def test_two_commits_at_once_give_the_same_answer(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"1"))
    first, second = await asyncio.gather(spool.commit(TASK, at_ms=1), spool.commit(TASK, at_ms=2))
    assert first == second


async def test_after_commit_no_file_is_accepted(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=1)
    with pytest.raises(NotFound, match=NO_SUCH_UPLOAD):
        await upload(spool, ("b.jpg", b"2"))
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await spool.create(a_draft())


async def test_a_file_that_is_still_arriving_at_commit_is_refused_and_not_in_the_manifest(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"1"))

    async def arrive_late() -> None:
        async with spool.receive(TASK) as receipt:
            await put(receipt, "late.jpg", b"2")
            await spool.commit(TASK, at_ms=1)

    with pytest.raises(NotFound, match=NO_SUCH_UPLOAD):
        await arrive_late()
    assert [file.name for file in (await spool.manifest(TASK)).files] == ["a.jpg"]
    assert stored(spool) == {"a.jpg": b"1"}


async def test_whatever_was_acknowledged_before_the_commit_is_in_the_manifest(spool: DiskSpool) -> None:
    await upload(spool, ("first.jpg", b"1"))
    accepted = ["first.jpg"]

    async def try_one(number: int) -> None:
        try:
            await upload(spool, (f"{number}.jpg", b"x" * number))
        except NotFound:
            return
        accepted.append(f"{number}.jpg")

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(try_one(number))
            if number == 20:
                commit = group.create_task(spool.commit(TASK, at_ms=1))
    assert sorted(accepted) == [file.name for file in commit.result().files] == sorted(stored(spool))


async def test_a_commit_without_files_is_refused_and_the_upload_dropped(spool: DiskSpool, bus: MemoryBus) -> None:
    with pytest.raises(Refused, match=r"^Not enough images \(0 files uploaded\)$"):
        await spool.commit(TASK, at_ms=1)
    with pytest.raises(NotFound):
        spool.draft(TASK)
    assert await uploads_known(bus) == {}


async def test_a_task_whose_images_come_from_a_url_needs_no_files(reopen: Opener) -> None:
    async with reopen() as spool:
        await spool.create(a_draft(zip_url="http://x/y.zip"))
        assert (await spool.commit(TASK, at_ms=1)).files == ()


async def test_a_check_may_refuse_the_commit_and_then_the_upload_is_dropped(spool: DiskSpool) -> None:
    await upload(spool, ("seed.zip", b"1"))

    def no_seeds(manifest: object) -> None:
        raise Refused("no seeds here")

    with pytest.raises(Refused, match="no seeds here"):
        await spool.commit(TASK, at_ms=1, check=no_seeds)
    assert spool.held() == []


async def test_a_commit_of_an_unknown_task_is_refused(spool: DiskSpool) -> None:
    with pytest.raises(NotFound, match=NO_SUCH_UPLOAD):
        await spool.commit(OTHER, at_ms=1)


async def test_where_files_went_ahead_is_kept_across_a_restart(reopen: Opener) -> None:
    ahead = StagedFiles(node=NodeId("n1"), node_task_id=NodeTaskId("somewhere"))
    async with reopen() as spool:
        await spool.create(a_draft())
        await spool.note_staged(TASK, ahead)
    async with reopen() as spool:
        assert [held.ahead for held in spool.held()] == [ahead]
        await spool.note_staged(TASK, None)
        await spool.note_staged(TASK, None)
    async with reopen() as spool:
        assert [held.ahead for held in spool.held()] == [None]


async def test_an_upload_is_kept_though_nobody_can_read_where_its_files_went(reopen: Opener) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        (spool.path(TASK, "x").parent.parent / "ahead.json").write_text("{")
    async with reopen() as spool:
        assert [(held.draft, held.ahead) for held in spool.held()] == [(a_draft(), None)]


async def test_a_request_says_under_which_names_its_files_are_kept(spool: DiskSpool) -> None:
    async with spool.receive(TASK) as first:
        await put(first, "a.jpg", b"1")
        assert first.published == []
    async with spool.receive(TASK) as second:
        await put(second, "a.jpg", b"1")
        await put(second, "a.jpg", b"two")
    names = [[(file.name, file.size_bytes) for file in receipt.published] for receipt in (first, second)]
    assert names == [[("a.jpg", 1)], [("a.jpg", 1), ("a_.jpg", 3)]]
    held = spool.find(TASK)
    assert held
    assert held.arrived_bytes == 5


async def test_marks_are_kept_across_a_restart(reopen: Opener) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"1"))
        await spool.commit(TASK, at_ms=1)
        await spool.mark(TASK, Mark.SUBMITTED)
        await spool.mark(TASK, Mark.SUBMITTED)
    async with reopen() as spool:
        assert spool.held()[0].marks == {Mark.SUBMITTED}


# --- afterwards ----------------------------------------------------------------------------------------------------


async def test_a_spool_knows_its_store_and_what_is_open_after_a_restart(reopen: Opener) -> None:
    made = Incarnation(id=IncarnationId("one"), made_at_ms=1)
    async with reopen() as spool:
        await spool.create(a_draft())
        await spool.join(made)
    async with reopen() as spool:
        assert spool.incarnation == made
        assert spool.open_count(a_draft().owner, but=OTHER) == 1
        assert [held.draft.task for held in spool.unsubmitted()] == [TASK]


async def test_what_was_done_with_a_task_is_kept_across_a_restart(reopen: Opener) -> None:
    async with reopen() as spool:
        await committed(spool)
        await spool.remember(TASK, History(committed_at_ms=7))
    async with reopen() as spool:
        held = spool.find(TASK)
        assert held is not None
        assert held.history == History(committed_at_ms=7)
        assert Mark.SUBMITTED in held.marks


async def test_an_acknowledgement_that_is_noted_beside_a_history_leaves_it(reopen: Opener) -> None:
    async with reopen() as spool:
        await committed(spool)
        async with asyncio.TaskGroup() as group:
            group.create_task(spool.remember(TASK, History(committed_at_ms=7)))
            group.create_task(spool.mark(TASK, Mark.SUBMITTED))
    async with reopen() as spool:
        assert history_of(spool) == History(committed_at_ms=7)


async def test_notes_of_a_history_are_added_to_its_file_and_a_restart_finds_the_last(
    reopen: Opener, tmp_path: Path
) -> None:
    path = tmp_path / "spool" / TASK / "submitted.mark"
    async with reopen() as spool:
        await committed(spool)
        await spool.remember(TASK, History(committed_at_ms=7))
        file = path.stat().st_ino
        await spool.remember(TASK, History(committed_at_ms=8))
        await spool.remember(TASK, History(committed_at_ms=9), durably=False)
        assert path.stat().st_ino == file
    assert [msgspec.json.decode(line)["committed_at_ms"] for line in path.read_bytes().splitlines()] == [7, 8, 9]
    async with reopen() as spool:
        assert history_of(spool) == History(committed_at_ms=9)
        await spool.remember(TASK, History(committed_at_ms=10))
    assert len(path.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("last", [b"", b"{", b'{"committed_at_ms":8', b"\0\0\0\0"])
async def test_a_note_that_was_cut_off_leaves_the_one_before_and_the_next_begins_anew(
    reopen: Opener, tmp_path: Path, last: bytes
) -> None:
    path = tmp_path / "spool" / TASK / "submitted.mark"
    async with reopen() as spool:
        await committed(spool)
        await spool.remember(TASK, History(committed_at_ms=7))
    path.write_bytes(path.read_bytes() + last)
    for note in (History(committed_at_ms=7), History(committed_at_ms=9)):
        async with reopen() as spool:
            assert history_of(spool) == note
            await spool.remember(TASK, History(committed_at_ms=9))


async def test_wherever_a_power_cut_ends_a_history_the_last_whole_note_is_read(
    spool: DiskSpool, tmp_path: Path
) -> None:
    folder = tmp_path / "spool" / TASK
    path = folder / "submitted.mark"
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=2)
    notes = [History(committed_at_ms=number, attempts=(known_attempt(number),)) for number in range(4)]
    ends = []
    for note in notes:
        await spool.remember(TASK, note)
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    for size in range(ends[0] - 1, len(content) + 1):
        path.write_bytes(content[:size])
        whole_count = sum(end - 1 <= size for end in ends)  # without its line feed a note is whole
        assert load_history(folder) == notes[whole_count - 1]


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b"\0" * 40 + b'"}\n{"committed_at_ms":8', b"\xff\n\xff\n"])
async def test_notes_that_a_power_cut_has_damaged_leave_the_one_before(
    reopen: Opener, tmp_path: Path, damage: bytes
) -> None:
    async with reopen() as spool:
        await committed(spool)
        await spool.remember(TASK, History(committed_at_ms=7))
    with (tmp_path / "spool" / TASK / "submitted.mark").open("ab") as file:
        file.write(damage)
    async with reopen() as spool:
        assert history_of(spool) == History(committed_at_ms=7)


async def with_a_note_that_is_gone(spool: DiskSpool, tmp_path: Path) -> Path:
    """Commit a task and delete what was noted of it; its folder."""
    folder = tmp_path / "spool" / TASK
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=2)
    await spool.remember(TASK, History(committed_at_ms=7))
    (folder / "submitted.mark").unlink()
    return folder


async def test_a_note_that_meets_a_full_disk_begins_its_file_anew(spool: DiskSpool, tmp_path: Path) -> None:
    folder = await with_a_note_that_is_gone(spool, tmp_path)
    (folder / "submitted.mark").symlink_to("/dev/full")
    await spool.remember(TASK, History(committed_at_ms=8))
    assert not (folder / "submitted.mark").is_symlink()
    assert load_history(folder) == History(committed_at_ms=8)


async def test_a_history_that_somebody_has_deleted_is_begun_anew(spool: DiskSpool, tmp_path: Path) -> None:
    folder = await with_a_note_that_is_gone(spool, tmp_path)
    await spool.remember(TASK, History(committed_at_ms=8))
    assert load_history(folder) == History(committed_at_ms=8)


async def test_a_history_that_an_earlier_version_has_written_is_read(reopen: Opener, tmp_path: Path) -> None:
    async with reopen() as spool:
        await committed(spool)
    (tmp_path / "spool" / TASK / "submitted.mark").write_bytes(msgspec.json.encode(History(committed_at_ms=7)))
    async with reopen() as spool:
        assert history_of(spool) == History(committed_at_ms=7)


async def test_a_history_does_not_grow_for_ever(spool: DiskSpool, tmp_path: Path) -> None:
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=2)
    attempts = tuple(known_attempt(number) for number in range(20))
    for number in range(100):
        await spool.remember(TASK, History(committed_at_ms=number, attempts=attempts))
    assert (tmp_path / "spool" / TASK / "submitted.mark").stat().st_size < 2 * HISTORY_BYTES
    assert load_history(tmp_path / "spool" / TASK) == History(committed_at_ms=99, attempts=attempts)


async def test_a_note_that_fails_half_way_leaves_the_one_before_and_the_next_is_whole(
    spool: DiskSpool, tmp_path: Path
) -> None:
    folder = tmp_path / "spool" / TASK
    await upload(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, at_ms=2)
    await spool.remember(TASK, History(committed_at_ms=7))
    room, spool._notes_room = spool._notes_room, HalfWrittenNotes(tmp_path / "room")
    with pytest.raises(OSError, match="broken"):
        await spool.remember(TASK, History(committed_at_ms=8))
    assert (history_of(spool), load_history(folder)) == (History(committed_at_ms=7), History(committed_at_ms=7))
    spool._notes_room = room
    await spool.remember(TASK, History(committed_at_ms=9))
    assert load_history(folder) == History(committed_at_ms=9)


class HalfWrittenNotes(NotesRoom):
    """Breaks in the middle of a line."""

    def add(self, path: Path, history: History, known_bytes: int, *, durably: bool) -> int:
        del known_bytes, durably
        with path.open("ab") as file:
            file.write(msgspec.json.encode(history)[:10])
        raise OSError("broken")


def history_of(spool: DiskSpool) -> History | None:
    """Say what a spool knows of the task."""
    held = spool.find(TASK)
    return held.history if held else None


def known_attempt(number: int) -> KnownAttempt:
    """Make an attempt as it is noted."""
    return KnownAttempt(
        number=number, node=NodeId("n"), hostname="n", port=3000, node_task_id=NodeTaskId(f"{TASK}#{number}")
    )


@pytest.mark.parametrize("content", [b"", b"{"], ids=["an earlier version", "broken"])
async def test_a_task_without_a_readable_history_is_kept(reopen: Opener, tmp_path: Path, content: bytes) -> None:
    async with reopen() as spool:
        await committed(spool)
    (tmp_path / "spool" / TASK / "submitted.mark").write_bytes(content)
    async with reopen() as spool:
        held = spool.find(TASK)
        assert held is not None
        assert (held.history, held.marks) == (None, {Mark.SUBMITTED})


async def test_a_discarded_task_leaves_nothing(spool: DiskSpool, bus: MemoryBus, tmp_path: Path) -> None:
    await upload(spool, ("a.jpg", b"1"))
    await spool.discard(TASK)
    await spool.discard(TASK)
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["instance", "lock", "room"]
    assert await uploads_known(bus) == {}
    assert spool.held() == []


async def test_an_upload_into_a_task_that_is_discarded_meanwhile_is_refused(spool: DiskSpool) -> None:
    async def arrive_late() -> None:
        async with spool.receive(TASK) as receipt:
            await put(receipt, "a.jpg", b"1")
            await spool.discard(TASK)

    with pytest.raises(NotFound, match=NO_SUCH_UPLOAD):
        await arrive_late()
    assert spool.held() == []


async def test_a_task_that_is_discarded_while_its_files_go_to_the_disk_takes_them_along(
    spool: DiskSpool, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        giving = group.create_task(given_whole(spool, [("a.jpg", b"1"), ("b.jpg", b"2")]))
        await asyncio.sleep(0)
        await spool.discard(TASK)
    assert [file.name for file in giving.result()] == ["a.jpg", "b.jpg"]
    assert (spool.held(), list((tmp_path / "spool").glob("*-*"))) == ([], [])
    assert (spool.stored_bytes(Owner("")), repr(spool._kept_room)) == (0, repr(KeptRoom()))
    assert repr(spool._claims) == "Claims(0 claimed=0)"


async def test_a_discarded_id_may_be_used_again(spool: DiskSpool) -> None:
    await upload(spool, ("a.jpg", b"1"))
    await spool.discard(TASK)
    await spool.create(a_draft())
    assert stored(spool) == {}


async def test_what_a_crash_leaves_behind_is_removed_at_the_start(reopen: Opener, tmp_path: Path) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"1"))
    root = tmp_path / "spool"
    (root / TASK / "parts" / "deadbeef").write_bytes(b"half")
    (root / TASK / ".manifest.json-deadbeef").write_bytes(b"{")
    half_made = root / f".{uuid.uuid4().hex}"
    (half_made / "files").mkdir(parents=True)
    async with reopen() as spool:
        assert stored(spool) == {"a.jpg": b"1"}
    assert not half_made.exists()
    assert sorted(path.name for path in (root / TASK).iterdir()) == ["draft.json", "files", "parts"]
    assert list((root / TASK / "parts").iterdir()) == []


async def test_a_crash_between_two_names_of_one_file_does_not_double_it(reopen: Opener, tmp_path: Path) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"1"))
    os.link(tmp_path / "spool" / TASK / "files" / "a.jpg", tmp_path / "spool" / TASK / "parts" / "linked-not-unlinked")
    async with reopen() as spool:
        assert stored(spool) == {"a.jpg": b"1"}
        await upload(spool, ("a.jpg", b"1"))
        assert stored(spool) == {"a.jpg": b"1"}


async def test_an_unreadable_upload_stays_until_it_is_old(reopen: Opener, tmp_path: Path, clock: FakeClock) -> None:
    async with reopen():
        pass  # it is a spool from then on
    broken = tmp_path / "spool" / OTHER
    broken.mkdir(parents=True)
    (broken / "draft.json").write_text("{")
    async with reopen() as spool:
        await spool.create(a_draft())
        await spool.remove_orphans(idle_s=100)
        clock.step_wall_s(1e9)
        clock.pass_s(99)
        await spool.remove_orphans(idle_s=100)
        assert broken.exists()
        clock.pass_s(2)
        await spool.remove_orphans(idle_s=100)
        assert not broken.exists()
        assert stored(spool) == {}


async def test_a_committed_upload_that_cannot_be_read_stays_however_old(reopen: Opener, tmp_path: Path) -> None:
    async with reopen():
        pass  # it is a spool from then on
    broken = tmp_path / "spool" / OTHER
    (broken / "files").mkdir(parents=True)
    (broken / "files" / "a.jpg").write_bytes(b"1")
    (broken / "draft.json").write_text("{")
    (broken / "manifest.json").write_text("{}")
    async with reopen() as spool:
        await spool.remove_orphans(idle_s=0)
        await spool.remove_orphans(idle_s=0)
        assert (broken / "files" / "a.jpg").read_bytes() == b"1"


async def test_announcing_puts_right_what_nats_lost_or_kept(reopen: Opener, bus: MemoryBus) -> None:
    uploads = await bus.bucket(UPLOADS)
    async with reopen() as spool:
        await spool.create(a_draft())
        bus.connected = False
        await spool.create(a_draft(name="renamed without nats"))
        bus.connected = True
        ours = (await uploads_known(bus))[TASK]
        theirs = Upload(task=OTHER, instance=InstanceId("them"), url="http://them", created_at_ms=1)
        await uploads.put(OTHER, theirs)
        await uploads.put("gone", Upload(task=TaskId("gone"), instance=spool.instance, url=URL, created_at_ms=1))
        await uploads.delete(TASK)
        await spool.announce()
    assert await uploads_known(bus) == {TASK: ours, OTHER: theirs}


async def test_a_task_discarded_without_nats_is_taken_down_later(spool: DiskSpool, bus: MemoryBus) -> None:
    bus.connected = False
    await spool.discard(TASK)
    bus.connected = True
    assert list(await uploads_known(bus)) == [TASK]
    await spool.announce()
    assert await uploads_known(bus) == {}


async def test_a_request_that_does_not_fit_is_refused_before_its_body_is_read(tmp_path: Path, bus: MemoryBus) -> None:
    async with open_spool(tmp_path, await bus.bucket(UPLOADS), URL, reserve_bytes=0) as spool:
        await spool.create(a_draft())
        with pytest.raises(SpoolFull):
            async with spool.receive(TASK, shutil.disk_usage(tmp_path).total + 1):
                pass


async def test_who_announces_most_of_the_disk_and_sends_nothing_keeps_nobody_out(
    tmp_path: Path, bus: MemoryBus
) -> None:
    async with open_spool(tmp_path, await bus.bucket(UPLOADS), URL, reserve_bytes=0) as spool:
        await spool.create(a_draft())
        most = shutil.disk_usage(tmp_path).free * 2 // 3
        async with spool.receive(TASK, most), spool.receive(TASK, most), spool.receive(TASK, most):
            async with spool.receive(TASK, most) as receipt:
                await put(receipt, "a.jpg", b"photo")
            assert stored(spool) == {"a.jpg": b"photo"}
        assert repr(spool._claims) == "Claims(0 claimed=0)"


async def test_a_remark_can_be_taken_back(reopen: Opener) -> None:
    async with reopen() as spool:
        await spool.create(a_draft())
        await upload(spool, ("a.jpg", b"x"))
        await spool.commit(TASK, 1)
        await spool.mark(TASK, Mark.WEBHOOK_DONE)
        await spool.unmark(TASK, Mark.WEBHOOK_DONE)
        await spool.unmark(TASK, Mark.WEBHOOK_DONE)
    async with reopen() as spool:
        assert [held.marks for held in spool.held()] == [frozenset()]


async def test_a_spool_that_is_taken_away_is_missed(spool: DiskSpool, tmp_path: Path) -> None:
    await spool.require_there()
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    assert not spool.has_room()
    with pytest.raises(SpoolLost, match="was removed while"):
        await spool.require_there()
    (tmp_path / "spool").mkdir()
    with pytest.raises(SpoolLost):
        await spool.require_there()
    (tmp_path / "spool").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    await spool.require_there()
