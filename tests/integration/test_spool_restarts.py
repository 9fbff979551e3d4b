"""What the loops behind the spool rely on over a restart of the proxy, with the spool on a real disk."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clusterodm.services.proxy.spool.core.upload import Draft, Mark
from clusterodm.services.proxy.uploads.handlers.expire import HOUR_S, UploadExpiry
from tests.forwarding import FILES, TASK, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "spool")
    async with made.bus.serve("scheduler", made.scheduler.handlers):
        yield made


async def test_what_is_on_the_disk_is_what_the_node_gets(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert list(world.nodes.datasets.values()) == [FILES]


async def test_given_up_inputs_stay_given_up_after_a_restart(world: World) -> None:
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        await world.inputs.give_up(TASK, "no room")
        (world.spool.path(TASK, "left over by a crash")).write_bytes(b"x")
    async with world.proxy(start=False):
        assert world.stored() == []
        held = world.spool.find(TASK)
        assert held is not None
        assert Mark.INPUTS_GONE in held.marks


async def test_the_age_of_an_upload_counts_on_over_a_restart(world: World) -> None:
    began_s = world.now_ms / 1000
    async with world.proxy(start=False):
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        folder = world.spool.path(TASK, "x").parent
    for path in (folder, folder.parent, folder.parent / "draft.json"):
        os.utime(path, (began_s, began_s))
    for hours, stays in ((45, True), (3, False)):
        world.clock.pass_s(hours * HOUR_S)
        async with world.proxy(start=False):
            sweeper = UploadExpiry(world.bus, world.spool, 0, world.clock)
            world.clock.pass_s(1.1 * HOUR_S)
            await sweeper.sweep()
            assert (world.spool.find(TASK) is not None) is stays


async def test_a_clock_that_was_put_forward_between_two_runs_sweeps_nothing_at_once(world: World) -> None:
    async with world.proxy(start=False):
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
    world.clock.step_wall_s(1e9)
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 0, world.clock)
        world.clock.pass_s(0.9 * HOUR_S)
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None
