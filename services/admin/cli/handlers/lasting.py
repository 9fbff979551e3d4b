"""What goes on for a while: a console that is followed, tasks that are waited for, a list that is watched, what happens.

All of it asks again and again: a cluster that is restarted meanwhile goes on, and an interrupted connection loses nothing. What an answer
looks like is the business of whoever calls (`Show`).
"""

import argparse
import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn, TypeVar

from clusterodm.libs.common.bus.retrying import retry
from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.tasks import GET_TASK, READ_CONSOLE, ReadConsole, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.ports import Bus, StoredEvent
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.services.admin.cli.core.events import matches, mistaken
from clusterodm.services.admin.cli.core.reading import began_ms
from clusterodm.services.admin.cli.handlers.once import ask, complete_ids
from clusterodm.services.admin.commands.core.answers import (
    Answer,
    ConsoleLines,
    DoneWithNote,
    Failed,
    Invalid,
    Unavailable,
)
from clusterodm.services.admin.commands.core.command_numbers import whole
from clusterodm.services.admin.commands.handlers.machines import boot_log, machine_of

EVENTS_COUNT: Final = 100
EVENTS_PAGE_COUNT: Final = 5000
EVENTS_MOST_COUNT: Final = 200_000
"""So far back is read at most."""
FURTHER: Final = 8


class Pace(NamedTuple):
    """How what goes on is asked for."""

    again_s: float = 1.0
    timeout_s: float = 60.0
    """How long a cluster may not answer meanwhile."""


USUAL: Final = Pace()
Reply = TypeVar("Reply")
Show = Callable[[Answer], object]
ShowEvent = Callable[[StoredEvent], object]


async def watch(bus: Bus, given: argparse.Namespace, show: Show, clear: Callable[[], None]) -> NoReturn:
    """Show a list again and again."""
    while True:
        answer = await ask(bus, given)
        clear()
        show(answer)
        await asyncio.sleep(max(given.watch, USUAL.again_s))


async def follow(bus: Bus, given: argparse.Namespace, show: Show, pace: Pace = USUAL) -> Answer | None:
    """Show a console until its task has ended; what went wrong, or None."""
    try:
        await complete_ids(bus, given)
        at, attempts_count = given.line, None
        while True:
            task = await with_retries(partial(task_of, bus, given.task), pace)
            if attempts_count is not None and len(task.attempts) > attempts_count:
                at = 0  # another attempt has a console of its own
            attempts_count = len(task.attempts)
            at = await new_lines(bus, task, at, show, pace)
            if task.state.ended:
                return None
            await asyncio.sleep(pace.again_s)
    except (NotFound, Refused) as error:
        return Invalid(error.message)
    except BusFailed:
        return Unavailable("The scheduler does not answer.")


async def follow_boot(bus: Bus, given: argparse.Namespace, show: Show, pace: Pace = USUAL) -> Answer | None:
    """Show what a machine says while it boots until it has booted; what went wrong, or None."""
    try:
        number = whole(given.machine)
        machine = MachineId(given.machine) if number is None else await machine_of(bus, number, None)
        if machine is None:
            return Invalid("there is no such machine")
        at = given.line
        while True:
            log = await with_retries(partial(boot_log, bus, machine, at), pace)
            if log.lines:
                show(ConsoleLines(log.lines))
            if log.ended:
                return None
            at = log.next_line
            await asyncio.sleep(pace.again_s)
    except (NotFound, Refused) as error:
        return Invalid(error.message)
    except BusFailed:
        return Unavailable("The autoscaler does not answer.")


async def new_lines(bus: Bus, task: Task, at: int, show: Show, pace: Pace) -> int:
    """Show the lines of a console from one on, or the last ones at first; the line behind the last."""
    last: deque[str] = deque(maxlen=max(-at, 0))
    reached = max(at, 0)
    while True:
        wanted = ReadConsole(task=task.id, from_line=reached)
        lines = (await with_retries(partial(bus.request, READ_CONSOLE, wanted), pace)).lines
        reached += len(lines)
        last.extend(lines)
        if lines and at >= 0:
            show(ConsoleLines(lines))
        elif not lines:
            break
    if last:
        show(ConsoleLines(tuple(last)))
    return reached


async def wait_for(bus: Bus, given: argparse.Namespace, show: Show, pace: Pace = USUAL) -> Answer | None:
    """Wait until tasks have ended; what is wrong in the end, or None when all are completed."""
    try:
        async with asyncio.timeout(given.timeout):
            await complete_ids(bus, given)
            ends = {each: await ended(bus, each, show, pace) for each in dict.fromkeys(given.task)}
    except TimeoutError:
        return Failed(f"not ended within {given.timeout} s")
    except (NotFound, Refused) as error:
        return Invalid(error.message)
    except BusFailed:
        return Unavailable("The scheduler does not answer.")
    bad = [f"{task} {state}" for task, state in ends.items() if state is not TaskState.COMPLETED]
    return Failed(f"not completed: {', '.join(bad)}") if bad else None


async def ended(bus: Bus, task_id: TaskId, show: Show, pace: Pace) -> TaskState:
    """Wait until one task has ended, and say how."""
    while True:
        task = await with_retries(partial(task_of, bus, task_id), pace)
        if task.state.ended:
            break
        await asyncio.sleep(pace.again_s)
    show(DoneWithNote(f"{task_id} {task.state}{f': {task.error}' if task.error else ''}"))
    return task.state


async def task_of(bus: Bus, task_id: TaskId) -> Task:
    """Ask for one task."""
    return (await bus.request(GET_TASK, TaskRef(task=task_id))).task


async def with_retries(request: Callable[[], Awaitable[Reply]], pace: Pace) -> Reply:
    """Ask until there is an answer: a cluster may be started again meanwhile. Raises BusFailed when that takes too long."""
    return await retry(request, "the cluster answers", pace.timeout_s)


async def show_events(bus: Bus, given: argparse.Namespace, show: ShowEvent, pace: Pace = USUAL) -> None:
    """Show what has happened, and with --follow what happens. Raises BusFailed, and Refused where no event can be about what is asked for."""
    about: str = given.about or ""
    past, reached = await last_events(bus, given, about)
    if not past and given.limit != 0 and (why := mistaken(about)):
        raise Refused(why)
    while True:
        for event in past:
            show(event)
        if not given.follow:
            return
        await asyncio.sleep(pace.again_s)
        found = await with_retries(partial(bus.stored_events, reached, EVENTS_PAGE_COUNT), pace)
        past, reached = [event for event in found.events if matches(event, about)], found.reached


async def last_events(bus: Bus, given: argparse.Namespace, about: str) -> tuple[Sequence[StoredEvent], int]:
    """Read what has happened: since a time, or the last so many; further back where most are about something else."""
    since_ms = None if given.since is None else began_ms(given.since, now_ms())
    limit = given.limit if given.limit is not None else None if since_ms is not None else EVENTS_COUNT
    count = max(limit or EVENTS_COUNT, 1)
    while True:
        found = await bus.stored_events(0, count)
        fitting = [each for each in found.events if matches(each, about) and each.at_ms >= (since_ms or 0)]
        is_all = len(found.events) < count or (since_ms is not None and found.events[0].at_ms < since_ms)
        if is_all or (limit is not None and len(fitting) >= limit) or count >= EVENTS_MOST_COUNT:
            return fitting if limit is None else fitting[max(len(fitting) - limit, 0) :], found.reached
        count = min(count * FURTHER, EVENTS_MOST_COUNT)
