"""The commands about machines and the autoscaler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG, BootLogLines, ReadBootLog
from clusterodm.libs.common.messages.machines import (
    DESTROY_MACHINE,
    GET_AUTOSCALER_STATUS,
    LIST_MACHINES,
    PAUSE_AUTOSCALER,
    PLAN_MACHINES,
    RESUME_AUTOSCALER,
    VIEW_COMMAND,
    DestroyMachine,
    GetAutoscalerStatus,
    ListMachines,
    MachineView,
    PauseAutoscaler,
    PlanMachines,
    ResumeAutoscaler,
    ViewCommand,
)
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.commands.core import answers, commands
from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.commands.handlers.queries import refusal_of

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks

MOST_NAMED: Final = 5
"""Machines that an answer names."""
LONGEST_REASON_COUNT: Final = 500
"""Characters of a reason that are kept: every page shows it."""


async def view_machine_command(bus: "Bus", command: commands.ViewMachineCommand) -> Answer:
    """ASR VIEWCMD."""
    wanted = ViewCommand(images_count=command.images_count)
    try:
        return answers.MachineCommandLine((await bus.request(VIEW_COMMAND, wanted)).command)
    except Refused as error:
        return answers.Invalid(error.message)


async def plan_machines(bus: "Bus", command: commands.PlanMachinesCommand) -> Answer:
    """Say what would be done."""
    try:
        return answers.MachinePlan((await bus.request(PLAN_MACHINES, PlanMachines(demand=command.demand))).steps)
    except Refused as error:
        return answers.Invalid(error.message)


async def list_machines(bus: "Bus", _command: commands.ListMachinesCommand) -> Answer:
    """ASR LIST."""
    return answers.MachineListing((await bus.request(LIST_MACHINES, ListMachines())).machines)


async def show_autoscaler(bus: "Bus", _command: commands.ShowAutoscalerCommand) -> Answer:
    """ASR STATUS."""
    return answers.AutoscalerReport(await bus.request(GET_AUTOSCALER_STATUS, GetAutoscalerStatus()))


async def destroy_machine(bus: "Bus", command: commands.DestroyMachineCommand) -> Answer:
    """ASR DESTROY."""
    views = (await bus.request(LIST_MACHINES, ListMachines())).machines
    found = meant(views, command.number, command.machine)
    if found is None or command.name not in {"", found}:
        return answers.Declined(
            none_of(views, command.machine or command.name or f"with number {command.number}"), told=True
        )
    try:
        view = await bus.request(DESTROY_MACHINE, DestroyMachine(machine=found))
    except (NotFound, Refused) as error:
        return answers.Declined(error.message, told=True)
    log.info("machine.destroy_requested", machine=found)
    return answers.DoneWithNote(view.told) if view.told else answers.Ok()


async def show_boot_log(bus: "Bus", command: commands.ShowBootLogCommand) -> Answer:
    """ASR OUTPUT."""
    found = command.machine or await machine_of(bus, command.number, None)
    if found is None:
        return answers.Invalid("there is no such machine")
    try:
        return answers.ConsoleLines((await boot_log(bus, found, command.from_line)).lines)
    except Refused as error:
        return answers.Invalid(error.message)


async def boot_log(bus: "Bus", machine: MachineId, from_line: int) -> BootLogLines:
    """Ask for what a machine has said while it booted. Raises NotFound, Refused without an autoscaler, and BusFailed."""
    return await bus.request(READ_BOOT_LOG, ReadBootLog(machine=machine, from_line=from_line))


async def machine_of(bus: "Bus", number: int, machine: MachineId | None) -> MachineId | None:
    """Find the machine that is meant by its number, or see that the one that is named is there."""
    return meant((await bus.request(LIST_MACHINES, ListMachines())).machines, number, machine)


def meant(views: Sequence[MachineView], number: int, machine: MachineId | None) -> MachineId | None:
    """Choose the machine of a name, or of a number where no name is given."""
    ids = (view.machine.id for view in views if (view.number == number if machine is None else view.machine.id == machine))  # fmt: skip
    return next(ids, None)


def none_of(views: Sequence[MachineView], wanted: str) -> str:
    """Say that a machine is not there, and which are."""
    known = ", ".join(f"{view.number}) {view.machine.id}" for view in views[:MOST_NAMED])
    more = f" and {len(views) - MOST_NAMED} more" if len(views) > MOST_NAMED else ""
    return f"there is no machine {wanted}; there {'is none' if not known else f'are {known}{more}'}"


async def pause_autoscaler(bus: "Bus", command: commands.PauseAutoscalerCommand) -> Answer:
    """ASR PAUSE."""
    reason = command.reason[:LONGEST_REASON_COUNT]
    wanted = PauseAutoscaler(reason=reason)
    if refusal := await refusal_of(bus.request(PAUSE_AUTOSCALER, wanted), Refused):
        return refusal
    log.info("autoscaler.pause_requested", reason=reason)
    return answers.Ok()


async def resume_autoscaler(bus: "Bus", _command: commands.ResumeAutoscalerCommand) -> Answer:
    """ASR RESUME."""
    if refusal := await refusal_of(bus.request(RESUME_AUTOSCALER, ResumeAutoscaler()), Refused):
        return refusal
    log.info("autoscaler.resume_requested")
    return answers.Ok()
