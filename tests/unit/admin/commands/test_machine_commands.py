"""The operators' words about machines: carried out, and shown on every road."""

import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG
from clusterodm.libs.common.messages.machines import (
    LIST_MACHINES,
    PAUSE_AUTOSCALER,
    RESUME_AUTOSCALER,
    AutoscalerStatus,
    MachineList,
)
from clusterodm.libs.common.model.machines import MachineState
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.cli.core.tables import human
from clusterodm.services.admin.commands.core.answers import (
    AutoscalerReport,
    ConsoleLines,
    Declined,
    Invalid,
    MachineListing,
    Ok,
    Unavailable,
)
from clusterodm.services.admin.commands.core.commands import DestroyMachineCommand
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.rendering.answers import document, exit_code, render
from clusterodm.services.admin.telnet.core.grammar import parse
from tests.fake_autoscaler import FakeAutoscaler, machine


@pytest.fixture
async def autoscaler(bus: MemoryBus) -> AsyncIterator[FakeAutoscaler]:
    fake = FakeAutoscaler()
    async with bus.serve("autoscaler", fake.handlers()):
        yield fake


async def test_machines_and_status_are_shown(bus: MemoryBus, autoscaler: FakeAutoscaler):
    assert await execute(bus, parse("ASR LIST")) == MachineListing(tuple(autoscaler.machines))
    assert await execute(bus, parse("ASR STATUS")) == AutoscalerReport(autoscaler.status())


async def test_a_number_is_the_machine_at_that_place(bus: MemoryBus, autoscaler: FakeAutoscaler):
    assert await execute(bus, parse("ASR DESTROY 2")) == Ok()
    assert autoscaler.destroyed == [autoscaler.machines[1].machine.id]


async def test_a_name_is_the_machine_that_is_called_so(bus: MemoryBus, autoscaler: FakeAutoscaler):
    name = autoscaler.machines[1].machine.id
    assert await execute(bus, parse(f"ASR DESTROY {name}")) == Ok()
    assert autoscaler.destroyed == [name]


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (parse("ASR DESTROY 3"), "with number 3"),
        (parse("ASR DESTROY 0"), "with number 0"),
        (parse("ASR DESTROY x"), "x"),
        (DestroyMachineCommand(1, name="another"), "another"),
    ],
    ids=repr,
)
async def test_what_is_no_machine_destroys_nothing_and_it_is_said_which_there_are(
    bus: MemoryBus, autoscaler: FakeAutoscaler, command: DestroyMachineCommand, wanted: str
):
    first, second = (each.machine.id for each in autoscaler.machines)
    said = f"there is no machine {wanted}; there are 1) {first}, 2) {second}"
    assert await execute(bus, command) == Declined(said, told=True)
    assert render(await execute(bus, command)) == f"FAIL {said}\r\n"
    assert autoscaler.destroyed == []


async def test_where_there_is_no_machine_it_is_said(bus: MemoryBus, autoscaler: FakeAutoscaler):
    autoscaler.machines.clear()
    said = "there is no machine with number 1; there is none"
    assert await execute(bus, parse("ASR DESTROY 1")) == Declined(said, told=True)


async def test_it_is_paused_with_a_reason_and_resumed(bus: MemoryBus, autoscaler: FakeAutoscaler):
    assert await execute(bus, parse("ASR PAUSE month is over")) == Ok()
    assert autoscaler.paused == "month is over"
    assert await execute(bus, parse("ASR RESUME")) == Ok()
    assert autoscaler.paused is None


@pytest.mark.parametrize("line", ["ASR PAUSE", "ASR RESUME", "ASR DESTROY 1"])
async def test_without_configuration_the_answer_says_so(bus: MemoryBus, line: str):
    async def refuse(_asked: object) -> AutoscalerStatus:
        raise Refused("no autoscaler is configured")

    async def none(_asked: object) -> MachineList:
        return MachineList(machines=())

    handlers = {PAUSE_AUTOSCALER: refuse, RESUME_AUTOSCALER: refuse, LIST_MACHINES: none}
    async with bus.serve("autoscaler", handlers):
        assert isinstance(await execute(bus, parse(line)), Declined)


@pytest.mark.parametrize("line", ["ASR LIST", "ASR STATUS", "ASR DESTROY 1", "ASR PAUSE", "ASR RESUME"])
async def test_an_autoscaler_that_does_not_answer_is_named(bus: MemoryBus, line: str):
    assert await execute(bus, parse(line)) == Unavailable("The autoscaler does not answer.")


def test_a_machine_is_a_line_in_telnet():
    assert render(MachineListing((machine(1), machine(2, hostname="", region="", tasks=())))) == (
        "1) clusterodm-abc123-10-xyz [busy] <tasks: 1> <size: s-2vcpu-2gb@sfo2> <provider: digitalocean> <node: 10.0.0.1:3000> <age: 1m01s>"
        " <cost: 0.25>\r\n"
        "2) clusterodm-abc123-20-xyz [busy] <tasks: 0> <size: s-2vcpu-2gb> <provider: digitalocean> <node: ?> <age: 1m01s> <cost: 0.25>\r\n\r\n"
    )


def test_a_machine_is_a_row_for_people_with_its_reason():
    lines = human(MachineListing((machine(1, state=MachineState.DESTROYING, failure="no\x1b capacity"),))).splitlines()
    assert lines[0].split() == [
        "N",
        "MACHINE",
        "STATE",
        "PROVIDER",
        "SIZE",
        "REGION",
        "NODE",
        "TASKS",
        "AGE",
        "COST",
        "REASON",
    ]
    assert lines[1].endswith("no capacity")
    assert human(MachineListing(())) == "There are no machines."


def test_a_machine_is_an_object_for_programs_without_its_digest():
    shown = document(MachineListing((machine(1, webhook_digest="d1gest"),)))
    assert {key: shown[0][key] for key in ("number", "name", "state", "node", "tasks", "cost")} == {
        "number": 1,
        "name": "clusterodm-abc123-10-xyz",
        "state": "busy",
        "node": "10.0.0.1:3000",
        "tasks": ["t1"],
        "cost": 0.25,
    }
    assert "d1gest" not in json.dumps(shown)


def test_the_status_is_the_same_object_on_every_road():
    answer = AutoscalerReport(FakeAutoscaler().status())
    shown = document(answer)
    assert json.loads(render(answer)) == json.loads(human(answer)) == shown
    assert (shown["enabled"], shown["provider"], shown["machinesLimit"]) == (True, "digitalocean", 3)
    assert exit_code(answer) == 0


async def test_a_line_says_why_a_machine_stays_and_why_it_cannot_be_destroyed(
    bus: MemoryBus, autoscaler: FakeAutoscaler
):
    kept = msgspec.structs.replace(machine(1), kept="it stays until 11:00:00 UTC", kept_until_ms=5)
    stuck = machine(2, state=MachineState.DESTROYING, removal_failure="the cloud says no")
    autoscaler.machines = [kept, stuck]
    answer = await execute(bus, parse("ASR LIST"))
    first, second, *_ = render(answer).split("\r\n")
    assert first.endswith(" <it stays until 11:00:00 UTC>")
    assert second.endswith(" <not destroyed yet: the cloud says no>")
    one, two = document(answer)
    assert (one["reason"], one["keptUntil"]) == ("it stays until 11:00:00 UTC", 5)
    assert (two["removalFailure"], two["keptUntil"]) == ("the cloud says no", None)


async def test_a_boot_log_is_read_by_the_machines_number_or_name(bus: MemoryBus, autoscaler: FakeAutoscaler):
    name = autoscaler.machines[1].machine.id
    autoscaler.boot_logs[name] = ("one", "two", "three")
    for line in ("ASR OUTPUT 2", f"ASR OUTPUT {name}", "ASR OUTPUT 2 0"):
        assert await execute(bus, parse(line)) == ConsoleLines(("one", "two", "three"))
    assert await execute(bus, parse("ASR OUTPUT 2 -1")) == ConsoleLines(("three",))
    assert await execute(bus, parse("ASR OUTPUT 1")) == ConsoleLines(())
    for line in ("ASR OUTPUT 9", "ASR OUTPUT nobody", "ASR OUTPUT 1 x"):
        assert isinstance(await execute(bus, parse(line)), Invalid), line


async def test_without_an_autoscaler_there_is_no_boot_log(bus: MemoryBus):
    async def refuse(_asked: object) -> None:
        raise Refused("no autoscaler is configured")

    async with bus.serve("autoscaler", {READ_BOOT_LOG: refuse}):
        assert await execute(bus, parse("ASR OUTPUT m")) == Invalid("no autoscaler is configured")
