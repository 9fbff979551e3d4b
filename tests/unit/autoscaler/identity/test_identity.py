"""Which machines are ours is known in two places, and the loss of either costs nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY, TASKS
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import IncarnationId, MachineId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.autoscaler.identity.adapters import IdentityFile
from clusterodm.services.autoscaler.identity.core import (
    Identities,
    Identity,
    cluster_id_in,
    machine_name,
    merged,
    node_token,
    with_ids,
)
from clusterodm.services.autoscaler.identity.handlers import FACTS, KEYS, ClusterIdentity, IdentityStore
from tests.autoscaler_world import BOOT_TURNS, MemoryIdentities, World

STORES: dict[str, Callable[[Path], IdentityStore]] = {
    "file": IdentityFile,
    "memory": lambda _path: MemoryIdentities(),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> IdentityStore:
    return STORES[request.param](tmp_path)


def ids(*known: str) -> Identities:
    return Identities(known=tuple(Identity(cluster_id=each, key=f"key-{each}") for each in known))


async def opened(bus: Bus, store: IdentityStore, cluster_id: str = "fresh1") -> ClusterIdentity:
    return await ClusterIdentity.open(bus, store, lambda _length: cluster_id)


# --- the directory -------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(store: IdentityStore):
    assert store.read() is None
    store.write(ids("a", "b"))
    store.write(ids("b", "c"))
    assert store.read() == ids("b", "c")


def test_nobody_else_reads_the_keys(tmp_path: Path):
    IdentityFile(tmp_path).write(ids("a"))
    folder = tmp_path / "autoscaler"
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert "key-a" not in repr(ids("a"))


def test_a_file_that_cannot_be_read_is_an_error_and_stays(tmp_path: Path):
    file = tmp_path / "autoscaler" / "identities.json"
    file.parent.mkdir()
    file.write_text("{")
    with pytest.raises(Refused, match="restore it, or move it away"):
        IdentityFile(tmp_path).read()
    assert file.read_text() == "{"


def test_a_directory_that_cannot_be_written_says_so(tmp_path: Path):
    (tmp_path / "autoscaler").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        IdentityFile(tmp_path).write(ids("a"))


# --- both together -------------------------------------------------------------------------------------------------


async def test_both_know_what_was_made_at_the_first_start(store: IdentityStore):
    identity = await opened(MemoryBus(), store)
    known = store.read()
    assert known is not None
    assert (identity.cluster_ids, known.cluster_ids) == (("fresh1",), ("fresh1",))
    assert known.current.key == identity.key.reveal()


async def test_a_new_store_gets_the_id_and_the_key_of_the_directory(store: IdentityStore):
    before = await opened(MemoryBus(), store, "first1")
    bus = MemoryBus()
    after = await opened(bus, store)
    assert (after.cluster_ids, after.key.reveal()) == (("first1",), before.key.reveal())
    assert (await opened(bus, MemoryIdentities())).cluster_ids == ("first1",)


async def test_an_incarnation_that_cannot_be_read_stops_nothing(store: IdentityStore):
    bus = MemoryBus()
    (await bus.bucket(CLUSTER)).write_raw(INCARNATION_KEY, b"{")
    assert (await opened(bus, store)).cluster_ids == ("fresh1",)


async def test_a_lost_directory_is_written_anew_from_the_store(store: IdentityStore):
    bus = MemoryBus()
    before = await opened(bus, MemoryIdentities())
    after = await opened(bus, store)
    known = store.read()
    assert known is not None
    assert (after.cluster_ids, known.current.key) == (before.cluster_ids, before.key.reveal())


async def test_where_they_differ_the_stores_is_in_use_and_both_are_ours(store: IdentityStore):
    store.write(ids("older1", "oldest"))
    bus = MemoryBus()
    await opened(bus, MemoryIdentities(), "newer1")
    identity = await opened(bus, store)
    assert identity.cluster_ids == ("newer1", "older1", "oldest")
    assert (await opened(bus, MemoryIdentities())).cluster_ids == identity.cluster_ids, "every standby learns it"
    known = store.read()
    assert known is not None
    assert known.cluster_ids == identity.cluster_ids


async def test_a_machines_secrets_are_those_of_its_id(store: IdentityStore):
    store.write(ids("older1"))
    bus = MemoryBus()
    await opened(bus, MemoryIdentities(), "newer1")
    identity = await opened(bus, store)
    assert identity.key_of(MachineId("clusterodm-older1-9-x")).reveal() == "key-older1"
    assert identity.key_of(MachineId("clusterodm-newer1-9-x")).reveal() == identity.key.reveal() != "key-older1"


async def test_the_loss_of_the_keys_alone_is_made_good_by_the_directory(store: IdentityStore):
    bus = MemoryBus()
    before = await opened(bus, store)
    await (await bus.bucket(KEYS)).delete("cluster")
    after = await opened(bus, store)
    assert (after.cluster_ids, after.key.reveal()) == (before.cluster_ids, before.key.reveal())


async def test_a_directory_that_cannot_be_written_stops_nothing():
    store = MemoryIdentities()
    store.failure = "read-only"
    identity = await opened(MemoryBus(), store)
    assert identity.cluster_ids == ("fresh1",)


async def test_two_that_come_at_once_to_a_new_store_agree():
    bus, first, second = MemoryBus(), MemoryIdentities(), MemoryIdentities()
    first.write(ids("first1"))
    second.write(ids("second"))
    one, other = await opened(bus, first), await opened(bus, second)
    await one.learn()
    assert one.cluster_ids == other.cluster_ids == ("first1", "second")
    assert first.kept == second.kept


async def test_pausing_forgets_no_id():
    bus, store = MemoryBus(), MemoryIdentities()
    await opened(bus, MemoryIdentities(), "newer1")
    store.write(ids("older1"))
    identity, other = await opened(bus, store), await opened(bus, MemoryIdentities())
    await other.pause("maintenance")
    await identity.resume()
    await identity.pause("again")
    stored = await (await bus.bucket(FACTS)).get("cluster")
    assert stored is not None
    assert (stored.value.former_ids, stored.value.paused_because) == (("older1",), "again")


async def test_the_directory_notes_every_incarnation_it_was_used_with(store: IdentityStore):
    for name in ("one", "two", "one"):
        bus = MemoryBus()
        made = Incarnation(id=IncarnationId(name), made_at_ms=1)
        await (await bus.bucket(CLUSTER)).create(INCARNATION_KEY, made)
        await opened(bus, store)
    known = store.read()
    assert known is not None
    assert known.incarnations == ("two", "one")


def test_what_is_known_of_an_id_is_not_unlearned():
    lost = Identities(known=(Identity(cluster_id="a", key=""),))
    assert merged(lost, ids("a")) == ids("a")
    assert merged(ids("a"), lost) == ids("a")
    assert merged(ids("a"), ids("b", "a")) == ids("a", "b")


def test_an_id_that_only_names_tell_of_has_no_key_and_comes_last():
    known = with_ids(ids("a", "b"), ["c", "b"])
    assert known == Identities(known=(*ids("a", "b").known, Identity(cluster_id="c", key="")))
    assert merged(ids("a"), known).known == known.known


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (machine_name("abc123", 40, "x7"), "abc123"),
        ("clusterodm-abc123-40-", ""),
        ("clusterodm-abc123", ""),
        ("clusterodm-../x-1-a", ""),
        ("other-abc123-40-x7", ""),
        ("my-clusterodm-abc123-40-x7", ""),
    ],
)
def test_the_id_is_read_from_a_machines_name(name: str, found: str):
    assert cluster_id_in(MachineId(name)) == found


# --- what comes of it ----------------------------------------------------------------------------------------------


async def test_after_the_loss_of_the_store_a_machine_with_a_known_size_is_used_again_and_any_other_destroyed():
    async with World() as world:
        old = world.autoscaler.identity.facts.cluster_id
        useful, useless = f"clusterodm-{old}-9-useful", f"clusterodm-{old}-9-useless"
        world.bus._buckets.clear()
        world.cloud.leak(useful, size="small", address="127.0.0.9")
        world.cloud.leak(useless, size="no longer in the file")
        await world.scheduler.submit("t")
        await world.restart()
        await world.settle()
        assert world.autoscaler.identity.cluster_ids == (old,)
        assert (world.cloud.created, sorted(world.cloud.destroyed)) == ([], sorted([useful, useless]))
        assert next(each for each in world.machines() if each.id == useful).done == ("t",)


async def test_machines_of_every_id_that_was_ever_ours_are_compared():
    async with World() as world:
        world.directory.write(ids("older1", "oldest"))
        for name in ("clusterodm-older1-9-a", "clusterodm-oldest-9-b", "clusterodm-strange-9-c"):
            world.cloud.leak(name)
            world.strangers.add(name)
        await world.restart()
        await world.turn(BOOT_TURNS)
        assert sorted(world.cloud.destroyed) == ["clusterodm-older1-9-a", "clusterodm-oldest-9-b"]


async def busy(world: World) -> Machine:
    """A machine with a task, whose node demands the token that it was made with."""
    world.scheduler.task_turns = 10
    await world.scheduler.submit("t")
    while world.scheduler.tasks[TaskId("t")].state is not TaskState.RUNNING:
        await world.turn()
    (machine,) = world.autoscaler.store.alive()
    world.tokens[machine.id] = world.autoscaler.machines.orders.token(machine).reveal()
    return machine


async def test_when_both_places_are_lost_a_machine_whose_node_is_registered_is_used_again():
    async with World() as world:
        machine = await busy(world)
        for lost in ("machines", "autoscaler", "autoscaler-secrets"):
            del world.bus._buckets[lost]
        world.directory.kept = None
        await world.restart()
        assert world.autoscaler.identity.cluster_ids[1:] == (cluster_id_in(machine.id),)
        await world.settle()
        assert (world.cloud.created, world.scheduler.lost_count) == ([machine.id], 0)
        assert next(each for each in world.machines() if each.id == machine.id).done == ("t",)


async def test_when_every_store_is_lost_a_machine_that_a_task_tells_of_is_destroyed():
    async with World() as world:
        machine = await busy(world)
        task = world.scheduler.tasks.pop(TaskId("t"))
        world.scheduler.nodes.clear()
        world.bus._buckets.clear()
        world.directory.kept = None
        await world.restart()
        assert machine.id in world.cloud.machines
        await (await world.bus.bucket(TASKS)).put(task.id, task)
        await world.turn()
        await world.reconciler.check()
        await world.turn(BOOT_TURNS)
        assert machine.id in world.cloud.destroyed


async def test_a_machine_of_an_earlier_id_is_spoken_to_with_its_own_token():
    async with World() as world:
        world.directory.write(ids("older1"))
        await world.restart()
        name = MachineId("clusterodm-older1-9-a")
        world.cloud.leak(name, size="small")
        await world.reconciler.check()
        machine = world.autoscaler.store.get(name)
        assert machine is not None
        assert world.autoscaler.machines.orders.token(machine) == node_token(
            world.autoscaler.identity.key_of(name), name
        )


async def test_a_name_that_a_machine_of_an_earlier_store_has_is_given_to_no_other():
    async with World(tasks_per_machine_count=1) as world:
        await world.scheduler.submit("t")
        await world.turn()
        (first,) = world.cloud.created
        await world.settle()
        world.cloud.leak(first, size="small", address="127.0.0.9")
        world.strangers.add(first)
        world.bus._buckets.clear()
        await world.restart()
        await world.turn()
        await world.scheduler.submit("t")
        await world.settle(BOOT_TURNS + 60)
        assert len(world.cloud.created) == 2
        assert len(set(world.cloud.created)) == 2
