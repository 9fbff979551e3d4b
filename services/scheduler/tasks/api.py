"""The story of tasks: which requests it answers, what it listens to, what goes on by itself, and how it is opened."""

from dataclasses import dataclass
from typing import Any, Final

from clusterodm.libs.common.messages.from_url import CLAIM_TASK, SUBMIT_FROM_URL
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.overview import GET_OVERVIEW
from clusterodm.libs.common.messages.placement import REPORT_INPUTS_LOST
from clusterodm.libs.common.messages.tasks import (
    ADOPT_TASK,
    CANCEL_TASK,
    CONFIRM_TASKS,
    DESCRIBE_TASK,
    GET_TASK,
    IMPORT_ROUTE,
    LIST_TASK_IDS,
    LIST_TASKS,
    MOVE_TASK_UP,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SEARCH_TASKS,
    SET_TASK_PRIORITY,
    SUBMIT_TASK,
)
from clusterodm.libs.common.ports import Bus, Handler
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.leadership import repeated
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.task_life.graphics import listed
from clusterodm.services.scheduler.tasks.core.observation import OBSERVE_S
from clusterodm.services.scheduler.tasks.handlers.absence import AbsentProxies
from clusterodm.services.scheduler.tasks.handlers.actions import TaskActions
from clusterodm.services.scheduler.tasks.handlers.machine_steps import MachineSteps
from clusterodm.services.scheduler.tasks.handlers.observing import ConsoleStore, ObservationStore
from clusterodm.services.scheduler.tasks.handlers.overview import OverviewReader
from clusterodm.services.scheduler.tasks.handlers.reading import TaskReader
from clusterodm.services.scheduler.tasks.handlers.retention import Archiver, GarbageCollector
from clusterodm.services.scheduler.tasks.handlers.searching import TaskSearch
from clusterodm.services.scheduler.tasks.handlers.submit import TaskSubmission
from clusterodm.services.scheduler.tasks.handlers.tracking import TaskTracker
from clusterodm.services.scheduler.tasks.ports import TaskQueue

FORGET_S: Final = 60.0
ABSENT_S: Final = 5.0


@dataclass(frozen=True)
class TasksStory:
    """Everything that has to do with tasks, from their commit to the end of their records."""

    submit: TaskSubmission
    actions: TaskActions
    reader: TaskReader
    search: TaskSearch
    overview: OverviewReader
    tracker: TaskTracker
    observer: ObservationStore
    absent_proxies: AbsentProxies
    collector: GarbageCollector
    archiver: Archiver
    machine_steps: MachineSteps

    def requests(self) -> dict[Request[Any, Any], Handler]:
        """Name the handler of each request."""
        return {
            SUBMIT_TASK: self.submit.submit,
            SUBMIT_FROM_URL: self.submit.submit_from_url,
            CLAIM_TASK: self.submit.claim,
            ADOPT_TASK: self.submit.adopt,
            IMPORT_ROUTE: self.submit.import_route,
            REPORT_INPUTS_LOST: self.absent_proxies.inputs_lost,
            GET_TASK: self.reader.get,
            CONFIRM_TASKS: self.reader.confirm,
            DESCRIBE_TASK: self.reader.describe,
            LIST_TASKS: self.reader.list_tasks,
            GET_OVERVIEW: self.overview.get,
            SEARCH_TASKS: self.search.search,
            LIST_TASK_IDS: self.reader.list_ids,
            READ_CONSOLE: self.reader.read_console,
            CANCEL_TASK: self.actions.cancel,
            REMOVE_TASK: self.actions.remove,
            RESTART_TASK: self.actions.restart,
            SET_TASK_PRIORITY: self.actions.set_priority,
            MOVE_TASK_UP: self.actions.move_up,
        }

    def loops(self, limiter: TaskLimiter, clean_every_s: float) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {
            "track tasks": self.tracker.run,
            "follow machines": self.machine_steps.watch,
            "archive tasks": self.archiver.run,
            "forget observations": repeated(self.observer.forget_over, "forget observations", OBSERVE_S),
            "clean nodes": repeated(lambda: self.collector.clean_nodes(limiter), "clean nodes", clean_every_s),
            "forget nodes": repeated(self.collector.forget_retired, "forget nodes", clean_every_s),
            "forget tasks": repeated(self.collector.forget_old, "forget tasks", FORGET_S),
            "end lost tasks": repeated(self.absent_proxies.check, "end lost tasks", ABSENT_S),
        }


async def open_tasks(  # noqa: PLR0913, PLR0917 what the story is made of
    records: Records,
    bus: Bus,
    api: NodeApi,
    events: EventPublisher,
    queue: TaskQueue,
    policy: AttemptPolicy,
    settings: SchedulerSettings,
) -> TasksStory:
    """Put the story together. Raises BusFailed."""
    observer = await ObservationStore.open(bus, records)
    consoles = await ConsoleStore.open(bus, api, records.leadership, settings)
    collector = GarbageCollector(records, api, consoles, settings)
    reader = TaskReader(records, api, consoles, queue, settings)
    return TasksStory(
        submit=TaskSubmission(records, queue, api, events, reader.summary, listed(settings.gpu_options)),
        actions=TaskActions(records, collector, consoles, api, events, settings),
        reader=reader,
        search=TaskSearch(records, reader, queue),
        overview=OverviewReader(records, queue),
        tracker=TaskTracker(records, api, events, consoles, observer, policy, settings),
        observer=observer,
        absent_proxies=AbsentProxies(records, bus, api, events, queue, settings),
        collector=collector,
        archiver=Archiver(records, consoles),
        machine_steps=await MachineSteps.open(bus, records),
    )
