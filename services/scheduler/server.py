"""How the scheduler is called: which handler answers which request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from libs.common import messages
from libs.common.health import Health
from libs.common.messages import FINISH_REPORTED, SUPPLY_CHANGED, Request
from libs.common.ports import Bus, Handler, Term
from services.scheduler.forwarding.handlers import ForwardHandlers
from services.scheduler.nodes.handlers.commands import NodeHandlers
from services.scheduler.nodes.handlers.leaving import Loser
from services.scheduler.placement.handlers.place import Placer
from services.scheduler.placement.handlers.requests import Aimer
from services.scheduler.tasks.handlers.absence import Absences
from services.scheduler.tasks.handlers.actions import ActionHandlers
from services.scheduler.tasks.handlers.reading import ReadHandlers
from services.scheduler.tasks.handlers.submit import CommitHandlers
from services.scheduler.tasks.handlers.tracking import Tracker

SERVICE: Final = "scheduler"


@dataclass(frozen=True)
class Handlers:
    """Everything that answers."""

    nodes: NodeHandlers
    commits: CommitHandlers
    aimer: Aimer
    placer: Placer
    forwards: ForwardHandlers
    actions: ActionHandlers
    reads: ReadHandlers
    tracker: Tracker
    loser: Loser
    absences: Absences


def answers(handlers: Handlers) -> dict[Request[Any, Any], Handler]:
    """Name the handler of each request."""
    return {
        messages.ADD_NODE: handlers.nodes.add,
        messages.REMOVE_NODE: handlers.nodes.remove,
        messages.LOSE_NODE: handlers.loser.lose,
        messages.LOCK_NODE: handlers.nodes.lock,
        messages.DRAIN_NODE: handlers.nodes.drain,
        messages.UNLOCK_NODE: handlers.nodes.unlock,
        messages.LIST_NODES: handlers.nodes.list_nodes,
        messages.UPDATE_NODES: handlers.nodes.update,
        messages.BEST_NODE: handlers.nodes.best,
        messages.FIND_UI_NODE: handlers.nodes.find_ui,
        messages.SUBMIT_TASK: handlers.commits.submit,
        messages.ADOPT_TASK: handlers.commits.adopt,
        messages.IMPORT_ROUTE: handlers.commits.import_route,
        messages.AIM_UPLOAD: handlers.aimer.aim,
        messages.PLACE_TASKS: handlers.placer.place_tasks,
        messages.PLACE_TASK: handlers.placer.place,
        messages.RENEW_ATTEMPT: handlers.forwards.renew,
        messages.REPORT_FORWARDED: handlers.forwards.forwarded,
        messages.REPORT_FORWARD_FAILED: handlers.forwards.failed,
        messages.REPORT_INPUTS_GONE: handlers.forwards.inputs_gone,
        messages.REPORT_INPUTS_LOST: handlers.absences.inputs_lost,
        messages.GET_TASK: handlers.reads.get,
        messages.CONFIRM_TASKS: handlers.reads.confirm,
        messages.LIST_TASKS: handlers.reads.list_tasks,
        messages.LIST_TASK_IDS: handlers.reads.list_ids,
        messages.READ_CONSOLE: handlers.reads.read_console,
        messages.CANCEL_TASK: handlers.actions.cancel,
        messages.REMOVE_TASK: handlers.actions.remove,
        messages.RESTART_TASK: handlers.actions.restart,
    }


@asynccontextmanager
async def served(bus: Bus, handlers: Handlers, health: Health, term: Term) -> AsyncIterator[None]:
    """Answer and listen while the context is open and the term lasts."""
    async with (
        bus.listen(FINISH_REPORTED, handlers.tracker.hint),
        bus.follow_snapshot(SUPPLY_CHANGED, durable=SERVICE, handler=handlers.placer.take_supply),
        bus.serve(SERVICE, answers(handlers) | {messages.SCHEDULER_HEALTH: health.answer}, term=term),
    ):
        try:
            yield
        finally:
            handlers.placer.close()
