"""What any spool promises: the one on disk, and the one in memory that unit tests use."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import IncarnationId, InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool, open_spool
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Draft, Manifest, Mark, StoredFile
from tests.memory_spool import MemorySpool
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
OTHER = TaskId("22222222-2222-4333-8444-555555555555")
GIVEN_UP = TaskId("33333333-2222-4333-8444-555555555555")
NOW_MS = 1_700_000_000_000
AnySpool = DiskSpool | MemorySpool


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture(params=["disk", "memory"])
async def spool(request: pytest.FixtureRequest, tmp_path: Path, bus: MemoryBus) -> AsyncIterator[AnySpool]:
    uploads = await bus.bucket(UPLOADS)
    if request.param == "memory":
        yield MemorySpool(uploads, FakeClock(NOW_MS))
        return
    async with open_spool(tmp_path / "spool", uploads, "http://p", clock=FakeClock(NOW_MS)) as opened:
        yield opened


def draft(task: TaskId = TASK, **more: object) -> Draft:
    return Draft(task=task, name="t", created_at_ms=1, **more)  # type: ignore[arg-type]


async def send(spool: AnySpool, *files: tuple[str, bytes], task: TaskId = TASK) -> list[str]:
    async with spool.receive(task) as receipt:
        for name, content in files:
            part = await receipt.open(name)
            part.write(content)
            part.close()
    return [file.name for file in receipt.published]


async def break_off(spool: AnySpool, *, keeps: bool = False) -> None:
    async with spool.receive(TASK) as receipt:
        part = await receipt.open("a.jpg")
        part.write(b"1")
        part.close()
        if keeps:
            receipt.keep("late.jpg", b"4")
        raise ZeroDivisionError


async def commit_meanwhile(spool: AnySpool) -> None:
    async with spool.receive(TASK) as receipt:
        (await receipt.open("b.jpg")).close()
        await spool.commit(TASK, 7)


def names(manifest: Manifest) -> list[str]:
    return [file.name for file in manifest.files]


async def test_an_upload_is_announced_and_gone_with_it(spool: AnySpool, bus: MemoryBus) -> None:
    uploads = await bus.bucket(UPLOADS)
    await spool.create(draft())
    found = await uploads.get(TASK)
    assert found is not None
    assert found.value.instance == spool.instance
    await spool.discard(TASK)
    assert await uploads.get(TASK) is None
    assert spool.find(TASK) is None
    await spool.discard(TASK)


async def test_an_upload_that_goes_while_nats_is_away_is_withdrawn_when_it_is_back(
    spool: AnySpool, bus: MemoryBus
) -> None:
    uploads = await bus.bucket(UPLOADS)
    for task in (TASK, OTHER):
        await spool.create(draft(task))
    bus.connected = False
    for task in (TASK, OTHER):
        await spool.discard(task)
    with pytest.raises(BusFailed):
        await spool.withdraw_owed()
    bus.connected = True
    await spool.create(draft(OTHER))
    await spool.withdraw_owed()
    assert set(await uploads.load()) == {OTHER}, "who began anew under its id is announced"
    await spool.discard(OTHER)
    assert await uploads.load() == {}


async def test_an_id_that_another_proxy_holds_is_refused(spool: AnySpool, bus: MemoryBus) -> None:
    notice = Upload(task=TASK, instance=InstanceId("another"), url="http://q", created_at_ms=1)
    await (await bus.bucket(UPLOADS)).create(TASK, notice)
    with pytest.raises(Refused, match="Invalid set-uuid"):
        await spool.create(draft())
    assert spool.find(TASK) is None


async def test_without_nats_nothing_begins(spool: AnySpool, bus: MemoryBus) -> None:
    bus.connected = False
    with pytest.raises(BusFailed):
        await spool.create(draft())
    assert spool.find(TASK) is None


async def test_init_again_by_its_owner_keeps_files_and_changes_fields(spool: AnySpool) -> None:
    await spool.create(draft(owner=Owner("a")))
    await send(spool, ("a.jpg", b"1"))
    with pytest.raises(Refused):
        await spool.create(draft(owner=Owner("b")))
    await spool.create(draft(owner=Owner("a"), outputs="[]"))
    assert spool.draft(TASK).outputs == "[]"
    assert names(await spool.manifest(TASK)) == ["a.jpg"]


async def test_files_appear_together_or_not_at_all(spool: AnySpool) -> None:
    await spool.create(draft())
    with pytest.raises(ZeroDivisionError):
        await break_off(spool)
    assert names(await spool.manifest(TASK)) == []
    with pytest.raises(ValueError, match="not complete"):
        async with spool.receive(TASK) as receipt:
            await receipt.open("a.jpg")
    async with spool.receive(TASK) as receipt:
        part = await receipt.open("a.jpg")
        part.close()
        assert names(await spool.manifest(TASK)) == []
        assert receipt.files_count == 1
        found = spool.find(TASK)
        assert found is not None
        assert found.receiving
    assert names(await spool.manifest(TASK)) == ["a.jpg"]


async def test_a_file_that_is_given_as_a_whole_is_a_file_like_others(spool: AnySpool) -> None:
    await spool.create(draft())
    async with spool.receive(TASK) as receipt:
        receipt.keep("a.jpg", b"1")
        part = await receipt.open("b.jpg")
        part.write(b"22")
        part.close()
        receipt.keep("dir/a.jpg", b"333")
        assert receipt.files_count == 3
        assert names(await spool.manifest(TASK)) == []
        with pytest.raises(Refused, match="Invalid file name"):
            receipt.keep("a\0.jpg", b"")
    assert [(file.name, file.size_bytes) for file in receipt.published] == [("a.jpg", 1), ("b.jpg", 2), ("a_.jpg", 3)]
    with pytest.raises(ZeroDivisionError):
        await break_off(spool, keeps=True)
    assert names(await spool.manifest(TASK)) == ["a.jpg", "a_.jpg", "b.jpg"]


class Heard:
    """What became of a request that was handed over as a whole. Implements ports.Stored."""

    def __init__(self) -> None:
        self.published: list[list[str] | None] = []

    def __call__(self, published: Sequence[StoredFile] | None) -> None:
        self.published.append(None if published is None else [file.name for file in published])


async def test_a_request_that_is_given_as_a_whole_is_one_like_others(spool: AnySpool) -> None:
    await spool.create(draft())
    heard = Heard()
    spool.store(TASK, [("a.jpg", b"1"), ("b.txt", b"22")], 100, heard)
    assert heard.published == [], "later"
    found = spool.find(TASK)
    assert found is not None
    assert found.receiving
    await until(lambda: len(heard.published) == 1)
    spool.store(TASK, [("a.jpg", b"1")], 100, heard)
    await until(lambda: len(heard.published) == 2)
    spool.store(TASK, [("dir/a.jpg", b"333")], 100, heard)
    await until(lambda: len(heard.published) == 3)

    assert heard.published == [["a.jpg", "b.txt"], ["a.jpg"], ["a_.jpg"]]
    assert names(await spool.manifest(TASK)) == ["a.jpg", "a_.jpg", "b.txt"]
    found = spool.find(TASK)
    assert found is not None
    assert (found.arrived_bytes, found.arrived_count, found.stored_bytes, found.images_count) == (7, 4, 6, 2)
    assert (spool.received_bytes, found.receiving) == (7, False)


async def test_a_request_that_cannot_be_taken_as_a_whole_is_refused_at_once_and_leaves_nothing(spool: AnySpool) -> None:
    heard = Heard()
    with pytest.raises(NotFound):
        spool.store(TASK, [("a.jpg", b"1")], 1, heard)
    await spool.create(draft())
    with pytest.raises(Refused, match="control characters"):
        spool.store(TASK, [("a.jpg", b"1"), ("b\0.jpg", b"1")], 2, heard)
    found = spool.find(TASK)
    assert found is not None
    assert (found.receiving, names(await spool.manifest(TASK))) == (False, [])
    assert spool.received_bytes == 0, "it comes again, the usual way"
    await send(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, 7)
    with pytest.raises(NotFound):
        spool.store(TASK, [("b.jpg", b"1")], 1, heard)
    assert heard.published == []


async def test_the_same_file_is_kept_once_and_another_of_its_name_too(spool: AnySpool) -> None:
    await spool.create(draft())
    assert await send(spool, ("a.jpg", b"1"), ("a.jpg", b"2")) == ["a.jpg", "a_.jpg"]
    assert await send(spool, ("dir/a.jpg", b"1"), ("a.jpg", b"3")) == ["a.jpg", "a__.jpg"]
    assert names(await spool.manifest(TASK)) == ["a.jpg", "a_.jpg", "a__.jpg"]
    found = spool.find(TASK)
    assert found is not None
    assert (found.arrived_bytes, spool.received_bytes) == (4, 4)
    with pytest.raises(Refused, match="Invalid file name"):
        await send(spool, ("a\0.jpg", b""))


async def test_a_request_of_which_one_file_finds_no_name_leaves_none(spool: AnySpool) -> None:
    await spool.create(draft())
    longest, heard = "x" * 255, Heard()
    await send(spool, (longest, b"1"))
    files = [("a.jpg", b"1"), ("a.jpg", b"1"), (longest, b"1"), (longest, b"2")]
    with pytest.raises(Refused, match="longer than 255 bytes"):
        await send(spool, *files)
    spool.store(TASK, files, 9, heard)
    await until(lambda: heard.published == [None])
    found = spool.find(TASK)
    assert found is not None
    assert (names(await spool.manifest(TASK)), found.stored_bytes, found.arrived_count) == ([longest], 1, 1)


async def test_what_has_come_is_counted_whatever_becomes_of_it(spool: AnySpool) -> None:
    await spool.create(draft())
    await send(spool, ("a.jpg", b"123"))
    await spool.discard(TASK)
    assert spool.received_bytes == 3


async def test_a_commit_closes_the_upload_for_ever(spool: AnySpool) -> None:
    await spool.create(draft())
    await send(spool, ("a.jpg", b"1"), ("gcp.txt", b"22"), ("seed.zip", b"333"))
    manifest = await spool.commit(TASK, 7)
    assert (manifest.images_count, manifest.size_bytes, manifest.has_seed) == (1, 6, True)
    assert (manifest.committed_at_ms, await spool.commit(TASK, 8)) == (7, manifest)
    assert await spool.manifest(TASK) == manifest
    with pytest.raises(NotFound):
        await send(spool, ("b.jpg", b"1"))
    with pytest.raises(Refused):
        await spool.create(draft())
    found = spool.find(TASK)
    assert found is not None
    assert (found.committed, found.size_bytes) == (True, 6)


async def test_a_file_that_comes_too_late_is_refused(spool: AnySpool) -> None:
    await spool.create(draft())
    await send(spool, ("a.jpg", b"1"))
    with pytest.raises(NotFound):
        await commit_meanwhile(spool)
    assert names(await spool.manifest(TASK)) == ["a.jpg"]


async def test_a_refused_commit_drops_the_upload(spool: AnySpool) -> None:
    def refuse(manifest: Manifest) -> None:
        raise Refused("no")

    await spool.create(draft())
    with pytest.raises(Refused, match="Not enough images"):
        await spool.commit(TASK, 7)
    await spool.create(draft())
    await send(spool, ("a.jpg", b"1"))
    with pytest.raises(Refused, match="no"):
        await spool.commit(TASK, 7, refuse)
    assert spool.find(TASK) is None
    await spool.create(draft(OTHER, zip_url="http://x/z.zip"))
    assert names(await spool.commit(OTHER, 7)) == []


async def test_what_was_done_with_a_task_is_remembered(spool: AnySpool) -> None:
    await spool.create(draft())
    await send(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, NOW_MS)
    held = spool.find(TASK)
    assert held is not None
    assert held.history is None
    await spool.remember(TASK, History(committed_at_ms=5))
    await spool.remember(TASK, History(committed_at_ms=6))
    await spool.mark(TASK, Mark.SUBMITTED)
    held = spool.find(TASK)
    assert held is not None
    assert (held.history, held.marks) == (History(committed_at_ms=6), {Mark.SUBMITTED})
    with pytest.raises(NotFound):
        await spool.remember(OTHER, History())


async def test_open_uploads_are_counted_by_owner_and_those_that_were_not_acknowledged_are_known(
    spool: AnySpool,
) -> None:
    one, two, three = (TaskId(f"{TASK[:-1]}{digit}") for digit in "123")
    alice, bob = Owner("alice"), Owner("bob")
    for task, owner in ((one, alice), (two, alice), (three, bob)):
        await spool.create(draft(task, owner=owner))
        await send(spool, ("a.jpg", b"1"), task=task)
    assert [spool.open_count(owner, but=two) for owner in (alice, bob, Owner("carol"))] == [1, 1, 0]
    await spool.create(draft(one, owner=Owner("")))
    assert (spool.open_count(alice, but=three), spool.open_count(Owner(""), but=three)) == (1, 1)
    await spool.commit(two, NOW_MS)
    assert spool.open_count(alice, but=three) == 0
    assert {held.draft.task for held in spool.unsubmitted()} == {one, two, three}
    await spool.remember(two, History())
    await spool.discard(three)
    assert {held.draft.task for held in spool.unsubmitted()} == {one}
    assert spool.open_count(bob, but=one) == 0


async def test_the_store_that_a_spool_belongs_to_is_known(spool: AnySpool) -> None:
    assert spool.incarnation is None
    for name in ("first", "second"):
        made = Incarnation(id=IncarnationId(name), made_at_ms=NOW_MS)
        await spool.join(made)
        assert spool.incarnation == made


async def test_remarks_are_made_and_taken_back(spool: AnySpool) -> None:
    await spool.create(draft())
    await send(spool, ("a.jpg", b"1"))
    await spool.commit(TASK, 7)
    ahead = StagedFiles(node=NodeId("n"), node_task_id=NodeTaskId("x"))
    for _ in range(2):
        await spool.mark(TASK, Mark.SUBMITTED)
        await spool.mark(TASK, Mark.WEBHOOK_DONE)
        await spool.note_staged(TASK, ahead)
    await spool.unmark(TASK, Mark.WEBHOOK_DONE)
    await spool.unmark(TASK, Mark.WEBHOOK_DONE)
    await spool.give_up(TASK)
    (held,) = spool.held()
    assert held.marks == {Mark.SUBMITTED, Mark.INPUTS_GONE}
    assert held.ahead == ahead
    await spool.note_staged(TASK, None)
    assert spool.held()[0].ahead is None


async def test_entries_are_listed_from_the_oldest(spool: AnySpool) -> None:
    await spool.create(draft(TASK, received_at_ms=2))
    await spool.create(draft(OTHER, received_at_ms=1))
    assert [held.draft.task for held in spool.held()] == [OTHER, TASK]
    assert spool.path(TASK, "a.jpg").name == "a.jpg"


async def test_what_is_not_here_is_not_found(spool: AnySpool) -> None:
    with pytest.raises(NotFound):
        spool.draft(TASK)
    with pytest.raises(NotFound):
        await spool.manifest(TASK)
    with pytest.raises(NotFound):
        await spool.commit(TASK, 1)
    with pytest.raises(NotFound):
        await spool.mark(TASK, Mark.SUBMITTED)
    with pytest.raises(NotFound):
        await spool.note_staged(TASK, None)
    with pytest.raises(NotFound):
        async with spool.receive(TASK):
            pass


async def test_a_commit_counts_as_activity_each_time_it_comes(tmp_path: Path, bus: MemoryBus) -> None:
    clock, uploads = FakeClock(NOW_MS), await bus.bucket(UPLOADS)
    async with open_spool(tmp_path / "spool", uploads, "http://p", clock=clock) as on_disk:
        for spool in (on_disk, MemorySpool(await MemoryBus().bucket(UPLOADS), clock)):
            await spool.create(draft())
            await send(spool, ("a.jpg", b"1"))
            for _ in range(2):
                clock.pass_s(5)
                await spool.commit(TASK, 1)
                found = spool.find(TASK)
                assert found is not None
                assert found.active == clock.instant()


async def test_announcing_puts_kv_right_and_says_what_others_hold(spool: AnySpool, bus: MemoryBus) -> None:
    uploads = await bus.bucket(UPLOADS)
    await spool.create(draft())
    await uploads.delete(TASK)
    stale = Upload(task=OTHER, instance=spool.instance, url="http://p", created_at_ms=1)
    foreign = Upload(task=TaskId("f"), instance=InstanceId("q"), url="http://q", created_at_ms=1)
    await uploads.create(OTHER, stale)
    await uploads.create("f", foreign)
    assert await spool.announce() == [foreign]
    assert set(await uploads.load()) == {TASK, "f"}
    await spool.forget(foreign)
    assert set(await uploads.load()) == {TASK}


async def test_what_an_owners_files_take_is_right_after_each_step(spool: AnySpool) -> None:
    anne, bert = Owner("anne"), Owner("bert")
    await spool.create(draft(owner=anne))
    await spool.create(draft(OTHER, owner=bert))
    assert spool.stored_bytes(anne) == 0
    await send(spool, ("a.jpg", b"12"), ("gcp.txt", b"3"))
    await send(spool, ("a.jpg", b"12"), ("a.jpg", b"345"))
    await send(spool, ("a.jpg", b"1234567"), task=OTHER)
    held = spool.find(TASK)
    assert held is not None
    assert (held.stored_bytes, held.images_count) == (6, 2), "the same file again takes nothing"
    assert (spool.stored_bytes(anne), spool.stored_bytes(bert)) == (6, 7)
    with pytest.raises(ZeroDivisionError):
        await break_off(spool)
    assert spool.stored_bytes(anne) == 6, "what broke off is not kept"
    await spool.create(draft(owner=anne, webhook="http://x"))
    assert spool.stored_bytes(anne) == 6, "another draft has the same files"
    manifest = await spool.commit(TASK, 1)
    held = spool.find(TASK)
    assert held is not None
    assert (manifest.size_bytes, manifest.images_count) == (held.stored_bytes, held.images_count) == (6, 2)
    assert spool.stored_bytes(anne) == 6
    await spool.give_up(TASK)
    assert (spool.stored_bytes(anne), spool.stored_bytes(bert)) == (0, 7)
    await spool.discard(TASK)
    await spool.discard(OTHER)
    assert (spool.stored_bytes(anne), spool.stored_bytes(bert)) == (0, 0)


async def test_an_upload_refused_at_its_commit_takes_nothing_more(spool: AnySpool) -> None:
    await spool.create(draft(owner=Owner("anne")))
    await send(spool, ("a.jpg", b"12"))

    def no(_: Manifest) -> None:
        raise Refused("too large")

    with pytest.raises(Refused):
        await spool.commit(TASK, 1, no)
    assert spool.stored_bytes(Owner("anne")) == 0


async def test_after_a_restart_files_take_what_they_took_before(tmp_path: Path, bus: MemoryBus) -> None:
    uploads, anne = await bus.bucket(UPLOADS), Owner("anne")
    async with open_spool(tmp_path / "spool", uploads, "http://p", clock=FakeClock(NOW_MS)) as spool:
        for task in (TASK, OTHER, GIVEN_UP):
            await spool.create(draft(task, owner=anne))
            await send(spool, ("a.jpg", b"1234"), ("a.jpg", b"1234"), ("gcp.txt", b"1"), task=task)
        await spool.commit(OTHER, 1)
        await spool.commit(GIVEN_UP, 1)
        await spool.give_up(GIVEN_UP)
    async with open_spool(tmp_path / "spool", uploads, "http://p", clock=FakeClock(NOW_MS)) as spool:
        assert spool.stored_bytes(anne) == 10
        held = spool.find(TASK)
        assert held is not None
        assert (held.stored_bytes, held.images_count) == (5, 1)
        await send(spool, ("a.jpg", b"1234"), ("b.jpg", b"12"))
        assert spool.stored_bytes(anne) == 12
