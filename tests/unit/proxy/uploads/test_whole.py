"""uploads/handlers/whole.py: who may upload what, when all of it has come. Over a spool in memory."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.core.upload import Draft, StoredFile
from clusterodm.services.proxy.uploads.handlers.whole import WholeUploads
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakeForwarding

TASK = TaskId("11111111-2222-4333-8444-555555555555")
ANNE = Tenant(name="anne")
ONE = [("a.jpg", b"1")]


class World:
    """Uploads, and what became of them."""

    def __init__(self, spool: MemorySpool) -> None:
        self.spool = spool
        self.forwarding = FakeForwarding()
        self.uploads = WholeUploads(spool, FakeCluster(), self.forwarding)
        self.ended: list[bool] = []

    def __call__(self, behind: Coroutine[Any, Any, None] | None, *, well: bool) -> None:
        assert behind is None
        self.ended.append(well)

    def upload(self, tenant: Tenant, files: Sequence[tuple[str, bytes]] = ONE, task: TaskId = TASK) -> None:
        self.uploads.upload(tenant, task, files, sum(len(content) for _, content in files), self)


@pytest.fixture
async def world() -> World:
    spool = MemorySpool(await MemoryBus().bucket(UPLOADS), FakeClock(0))
    await spool.create(Draft(task=TASK, name="t", created_at_ms=1, owner=Owner("anne")))
    return World(spool)


async def settled(world: World) -> list[StoredFile]:
    """Let what was begun end; the files."""
    await asyncio.sleep(0)
    return list((await world.spool.manifest(TASK)).files)


async def test_files_are_stored_and_go_ahead(world: World) -> None:
    world.upload(ANNE, [*ONE, ("b.jpg", b"22")])
    assert world.ended == []
    assert [file.name for file in await settled(world)] == ["a.jpg", "b.jpg"]
    assert (world.ended, world.forwarding.came) == ([True], ["a.jpg", "b.jpg"])


async def test_what_fails_on_its_way_to_the_disk_is_told_and_goes_nowhere(world: World) -> None:
    world.upload(ANNE)
    await world.spool.discard(TASK)
    with pytest.raises(NotFound):
        await settled(world)
    assert (world.ended, world.forwarding.came) == ([False], [])


@pytest.mark.parametrize(
    ("tenant", "files", "refused"),
    [
        pytest.param(Tenant(name="bert"), ONE, NotFound, id="another's"),
        pytest.param(Tenant(name="anne", max_images_count=1), ONE * 2, Refused, id="too many images"),
        pytest.param(
            Tenant(name="anne", max_task_bytes=9), [("a.jpg", b"x" * (2 << 20))], Refused, id="too many bytes"
        ),
        pytest.param(
            Tenant(name="anne", storage_bytes=9), [("a.jpg", b"x" * (2 << 20))], Refused, id="too much storage"
        ),
        pytest.param(ANNE, [("a\0.jpg", b"1")], Refused, id="no name"),
    ],
)
async def test_what_an_upload_request_is_refused_for_this_is_too(
    world: World, tenant: Tenant, files: Sequence[tuple[str, bytes]], refused: type[Exception]
) -> None:
    with pytest.raises(refused):
        world.upload(tenant, files)
    assert (await settled(world), world.ended) == ([], [])


async def test_without_room_nothing_is_taken(world: World) -> None:
    world.spool.room = False
    with pytest.raises(SpoolFull):
        world.upload(ANNE)
    assert (await settled(world), world.ended) == ([], [])


async def test_who_has_no_upload_finds_none(world: World) -> None:
    with pytest.raises(NotFound):
        world.upload(ANNE, task=TaskId("22222222-2222-4333-8444-555555555555"))
    assert world.ended == []
