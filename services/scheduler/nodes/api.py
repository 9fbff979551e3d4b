"""The story of nodes: which requests it answers, what goes on by itself, and how it is opened."""

from dataclasses import dataclass
from typing import Any

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    BEST_NODE,
    DRAIN_NODE,
    FIND_UI_NODE,
    LABEL_NODE,
    LIST_NODES,
    LOCK_NODE,
    LOSE_NODE,
    REMOVE_NODE,
    UNLOCK_NODE,
    UPDATE_NODES,
)
from clusterodm.libs.common.ports import Handler
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.leadership import repeated
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.nodes.handlers.commands import NodeCommands
from clusterodm.services.scheduler.nodes.handlers.leaving import Drainer, NodeFailureDetector
from clusterodm.services.scheduler.nodes.handlers.probing import NodeProber
from clusterodm.services.scheduler.nodes.ports import ReservedSlots, RunningAttempts
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy


@dataclass(frozen=True)
class NodesStory:
    """Everything that has to do with nodes."""

    commands: NodeCommands
    prober: NodeProber
    drainer: Drainer
    failures: NodeFailureDetector

    def requests(self) -> dict[Request[Any, Any], Handler]:
        """Name the handler of each request."""
        return {
            ADD_NODE: self.commands.add,
            REMOVE_NODE: self.commands.remove,
            LOSE_NODE: self.failures.lose,
            LOCK_NODE: self.commands.lock,
            DRAIN_NODE: self.commands.drain,
            UNLOCK_NODE: self.commands.unlock,
            LABEL_NODE: self.commands.label,
            LIST_NODES: self.commands.list_nodes,
            UPDATE_NODES: self.commands.update,
            BEST_NODE: self.commands.best,
            FIND_UI_NODE: self.commands.find_ui,
        }

    def loops(self, limiter: TaskLimiter) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {
            "probe nodes": self.prober.run,
            "lose tasks": repeated(self.failures.watch, "lose tasks"),
            "drain nodes": repeated(lambda: self.drainer.check(limiter), "drain nodes"),
        }


def open_nodes(  # noqa: PLR0913, PLR0917 what the story is made of
    records: Records,
    api: NodeApi,
    events: EventPublisher,
    reserved: ReservedSlots,
    attempts: RunningAttempts,
    policy: AttemptPolicy,
    settings: SchedulerSettings,
) -> NodesStory:
    """Put the story together."""
    prober = NodeProber(records, api, events, reserved, settings)
    return NodesStory(
        commands=NodeCommands(records, prober, events, reserved),
        prober=prober,
        drainer=Drainer(records, api, events, policy, settings),
        failures=NodeFailureDetector(records, attempts, events, reserved, settings),
    )
