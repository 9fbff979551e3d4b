"""Commands are carried out over the bus; every one gets an answer."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from clusterodm.libs.common.errors import (
    ClusterError,
    Conflict,
    NodeFailed,
    NoNode,
    OutcomeUnknown,
    Refused,
    Unreadable,
)
from clusterodm.libs.common.messages.catalogue import catalogue
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.machines import (
    PLAN_MACHINES,
    VIEW_COMMAND,
    CommandView,
    ImaginedTasks,
    PlanMachines,
    PlannedMachines,
    PlannedStep,
    ViewCommand,
)
from clusterodm.libs.common.messages.nodes import ADD_NODE, BestNode
from clusterodm.libs.common.messages.tasks import DESCRIBE_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.answers import (
    ConsoleLines,
    Declined,
    Failed,
    Invalid,
    MachineCommandLine,
    MachinePlan,
    NodeChoice,
    NodeDetail,
    NodeListing,
    Ok,
    RouteDetail,
    RouteListing,
    TaskChanged,
    TaskDetail,
    TaskListing,
    Unavailable,
)
from clusterodm.services.admin.commands.core.commands import NodeAct, PlanMachinesCommand, TaskAct
from clusterodm.services.admin.commands.handlers.execute import HANDLERS, MAY_BE_DONE, execute
from clusterodm.services.admin.takeover.core import OldNode, OldRoute
from clusterodm.services.admin.takeover.handlers import Takeover
from clusterodm.services.admin.telnet.core.grammar import parse
from tests.fake_scheduler import FakeScheduler, node, task

RUNNING, WAITING = TaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff"), TaskId("6f9619ff-8b86-4011-b42d-00c04fc964aa")


@pytest.fixture
async def scheduler(bus: MemoryBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1), node(2, port=4002, has_token=True)]
    fake.tasks = [task(RUNNING, on=fake.nodes[1]), task(WAITING, TaskState.WAITING)]
    fake.consoles = {RUNNING: ("one", "two", "three")}
    async with bus.serve("scheduler", fake.handlers()):
        yield fake


def test_every_command_has_somebody_who_carries_it_out():
    assert set(HANDLERS) == set(commands.Command.__args__)


async def test_a_node_is_added_with_its_token(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE ADD host 3000 tok")) == Ok()
    assert scheduler.tokens[scheduler.nodes[-1].id] == "tok"


async def test_a_node_that_exists_is_not_added_and_says_why(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE ADD 127.0.0.1 4001")) == Declined("127.0.0.1:4001 is registered already")


async def test_a_number_is_the_node_at_that_place(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE LOCK 2")) == Ok()
    assert [each.locked for each in scheduler.nodes] == [False, True]
    assert await execute(bus, parse("NODE UNLOCK 2")) == Ok()
    assert await execute(bus, parse("NODE DEL 1")) == Ok()
    assert [(each.number, each.port) for each in scheduler.nodes] == [(1, 4002)]


async def test_a_drain_carries_its_deadline(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE DRAIN 2 60")) == Ok()
    assert [each.draining for each in scheduler.nodes] == [False, True]
    assert scheduler.asked[-1].deadline_s == 60
    assert await execute(bus, parse("NODE DRAIN 1")) == Ok()
    assert scheduler.asked[-1].deadline_s is None
    assert isinstance(await execute(bus, parse("NODE DRAIN 9")), Declined)
    assert isinstance(await execute(bus, parse("NODE DRAIN 1 soon")), Invalid)


async def test_a_node_is_given_labels_and_loses_the_others(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE LABEL 2 gpu, gpu tenant=survey")) == Ok()
    assert [each.labels for each in scheduler.nodes] == [(), ("gpu", "tenant=survey")]
    assert await execute(bus, parse("NODE LABEL 2 big")) == Ok()
    assert scheduler.nodes[1].labels == ("big",)
    assert await execute(bus, parse("NODE LABEL 2 tenant=")) == Declined(
        "'tenant=' is no label: 1 to 63 letters and digits, and . _ = / - between them"
    )
    assert await execute(bus, parse("node label 2")) == Ok()
    assert scheduler.nodes[1].labels == ()
    assert await execute(bus, parse("NODE LABEL 9 gpu")) == Declined("there is no such node")


@pytest.mark.parametrize("number", ["0", "3", "x", "1abc", "-1"])
async def test_an_unknown_node_changes_nothing(bus: MemoryBus, scheduler: FakeScheduler, number: str):
    for verb in ("DEL", "LOCK", "UNLOCK"):
        assert isinstance(await execute(bus, parse(f"NODE {verb} {number}")), Declined)
    for line in ("NODE INFO", "ROUTE LIST", "TASK LIST"):
        assert isinstance(await execute(bus, parse(f"{line} {number}")), Invalid)
    assert [each.locked for each in scheduler.nodes] == [False, False]


async def test_a_number_that_now_belongs_to_another_node_changes_nothing(bus: MemoryBus, scheduler: FakeScheduler):
    stale = commands.ChangeNodeCommand(NodeAct.DEL, 1, name="127.0.0.1:4002")
    assert isinstance(await execute(bus, stale), Declined)
    assert len(scheduler.nodes) == 2


async def test_nodes_are_shown(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse("NODE LIST")) == NodeListing(tuple(scheduler.nodes))
    assert await execute(bus, parse("NODE INFO 2")) == NodeDetail(scheduler.nodes[1])
    assert await execute(bus, parse("NODE UPDATE")) == Ok()
    assert await execute(bus, parse("NODE BEST 80")) == NodeChoice(scheduler.nodes[0])
    assert scheduler.asked[-1] == BestNode(images_count=80)


async def test_lists_of_tasks_hold_waiting_ones_and_can_be_restricted(bus: MemoryBus, scheduler: FakeScheduler):
    everything = await execute(bus, parse("TASK LIST"))
    assert isinstance(everything, TaskListing)
    assert [each.id for each in everything.tasks] == [RUNNING, WAITING]
    ours = await execute(bus, parse("TASK LIST 2"))
    assert isinstance(ours, TaskListing)
    assert [each.id for each in ours.tasks] == [RUNNING]
    assert await execute(bus, parse("TASK LIST 1")) == TaskListing(())


async def test_all_pages_of_a_list_are_read(bus: MemoryBus, scheduler: FakeScheduler):
    scheduler.page_count = 3
    scheduler.tasks = [task(f"t{number}") for number in range(10)]
    found = await execute(bus, parse("TASK LIST"))
    assert isinstance(found, TaskListing)
    assert [each.id for each in found.tasks] == [f"t{number}" for number in range(10)]


async def test_routes_hold_tasks_on_nodes_only(bus: MemoryBus, scheduler: FakeScheduler):
    found = await execute(bus, parse("ROUTE LIST"))
    assert isinstance(found, RouteListing)
    assert [(each.task, each.port, each.node_has_token) for each in found.routes] == [(RUNNING, 4002, True)]
    assert await execute(bus, parse("ROUTE LIST 1")) == RouteListing(())
    one = await execute(bus, parse(f"ROUTE INFO {RUNNING}"))
    assert isinstance(one, RouteDetail)
    assert one.route == found.routes[0]
    assert isinstance(await execute(bus, parse(f"ROUTE INFO {WAITING}")), Invalid)


async def test_a_task_is_shown_with_its_node(bus: MemoryBus, scheduler: FakeScheduler):
    found = await execute(bus, parse(f"TASK INFO {RUNNING}"))
    assert found == TaskDetail(scheduler.tasks[0], "127.0.0.1:4002")
    assert await execute(bus, parse(f"TASK OUTPUT {RUNNING} -2")) == ConsoleLines(("two", "three"))


async def test_a_task_is_canceled_then_removed(bus: MemoryBus, scheduler: FakeScheduler):
    assert await execute(bus, parse(f"TASK CANCEL {RUNNING}")) == TaskChanged()
    assert await execute(bus, parse(f"TASK CANCEL {RUNNING}")) == TaskChanged("the task has ended")
    assert await execute(bus, parse(f"TASK REMOVE {RUNNING}")) == TaskChanged()
    assert isinstance(await execute(bus, parse(f"TASK REMOVE {RUNNING}")), Invalid)


@pytest.mark.parametrize("line", ["TASK INFO x", "TASK OUTPUT x", "TASK CANCEL x", "TASK REMOVE x", "ROUTE INFO x"])
async def test_an_unknown_task_is_invalid(bus: MemoryBus, scheduler: FakeScheduler, line: str):
    assert isinstance(await execute(bus, parse(line)), Invalid)


ALL_LINES = [
    "NODE ADD h 1",
    "NODE DEL 1",
    "NODE LOCK 1",
    "NODE UNLOCK 1",
    "NODE INFO 1",
    "NODE LIST",
    "NODE UPDATE",
    "NODE BEST 1",
    "ROUTE LIST",
    "ROUTE LIST 1",
    "ROUTE INFO x",
    "TASK LIST",
    "TASK LIST 1",
    "TASK INFO x",
    "TASK OUTPUT x",
    "TASK CANCEL x",
    "TASK REMOVE x",
    "ASR VIEWCMD 1",
]


@pytest.mark.parametrize("line", ALL_LINES)
async def test_when_nobody_answers_the_answer_says_so(bus: MemoryBus, line: str):
    owner = "autoscaler" if line.startswith("ASR") else "scheduler"
    assert await execute(bus, parse(line)) == Unavailable(f"The {owner} does not answer.")


class SilentBus(MemoryBus):
    """One on which whoever is asked says nothing."""

    async def request(self, request: Request[Any, Any], message: Any, timeout_s: float | None = None) -> Any:
        """Send it, and wait in vain."""
        del message, timeout_s
        raise OutcomeUnknown(f"no answer to {request.name}")


@pytest.mark.parametrize("line", ALL_LINES)
async def test_an_act_that_was_not_answered_may_have_been_done(line: str):
    """Whoever repeats it without looking does it twice, or is refused."""
    owner = "autoscaler" if line.startswith("ASR") else "scheduler"
    words = {"ADD", "DEL", "LOCK", "UNLOCK", "UPDATE", "CANCEL", "REMOVE"}
    doubt = f" {MAY_BE_DONE}" if words.intersection(line.split()) else ""
    assert await execute(SilentBus(), parse(line)) == Unavailable(f"The {owner} does not answer.{doubt}")


@pytest.mark.parametrize("error", [NoNode("no"), NodeFailed("no"), Conflict("no"), Refused("no")])
@pytest.mark.parametrize("line", ALL_LINES)
async def test_whatever_the_owner_raises_there_is_an_answer(bus: MemoryBus, line: str, error: ClusterError):
    async def fail(_asked: Any) -> None:
        raise error

    requests = [each for each in catalogue().values() if isinstance(each, Request)]
    async with bus.serve("all", dict.fromkeys(requests, fail)):
        answer = await execute(bus, parse(line))
    assert answer in {Declined("no"), Failed("no"), TaskChanged("no"), Invalid("no")}


async def test_the_machine_command_is_the_autoscalers_answer_or_invalid_without_one(bus: MemoryBus):
    async def view(asked: ViewCommand) -> CommandView:
        if asked.images_count > 100:
            raise Refused("no autoscaler is configured")
        return CommandView(command=f"create {asked.images_count}")

    async with bus.serve("autoscaler", {VIEW_COMMAND: view}):
        assert await execute(bus, parse("ASR VIEWCMD 7")) == MachineCommandLine("create 7")
        assert isinstance(await execute(bus, parse("ASR VIEWCMD 700")), Invalid)


class TestImport:
    NODES = (
        OldNode("127.0.0.1", 4001),
        OldNode("new", 3000, "tok", locked=True),
        OldNode("m", 3000, is_machine=True),
    )
    ROUTES = (
        OldRoute(TaskId("a" * 8), ("new", 3000), "owner", 1000),  # type: ignore[arg-type]
        OldRoute(RUNNING, ("127.0.0.1", 4001), "", 1000),  # type: ignore[arg-type]
        OldRoute(TaskId("b" * 8), ("m", 3000), "", 1000),  # type: ignore[arg-type]
        OldRoute(TaskId("c" * 8), ("new", 3000), "", -(10**10)),  # type: ignore[arg-type]
    )

    async def test_what_is_new_is_imported_and_the_rest_is_said(self, bus: MemoryBus, scheduler: FakeScheduler):
        said: list[str] = []
        result = await Takeover(bus, 2000, said.append).run(self.NODES, self.ROUTES)
        assert said == [
            "node 127.0.0.1:4001: skipped, exists already",
            "node new:3000: imported",
            "node m:3000: skipped, machines belong to the autoscaler",
            f"task {'a' * 8}: imported",
            f"task {RUNNING}: skipped, exists already",
            f"task {'b' * 8}: skipped, its node m:3000 is not in the cluster",
            f"task {'c' * 8}: skipped, nobody has asked for it for five days",
        ]
        assert (str(result.nodes), str(result.routes)) == (
            "1 imported, 2 skipped, 0 failed",
            "1 imported, 3 skipped, 0 failed",
        )
        assert result.complete
        added = scheduler.nodes[-1]
        assert (added.locked, scheduler.tokens[added.id]) == (True, "tok")
        assert scheduler.owner_of("a" * 8) == "owner"
        acts = [(told.act, told.target, told.outcome) for name, told in bus.published if name == "operator.acted"]
        assert acts == [("NODE IMPORT", "new:3000", "done"), ("TASK IMPORT", "a" * 8, "done")]

    async def test_a_second_time_nothing_happens(self, bus: MemoryBus, scheduler: FakeScheduler):
        await Takeover(bus, 2000, lambda _: None).run(self.NODES, self.ROUTES)
        told = len(bus.published)
        before = (list(scheduler.nodes), list(scheduler.tasks))
        result = await Takeover(bus, 2000, lambda _: None).run(self.NODES, self.ROUTES)
        assert (result.nodes.taken, result.routes.taken, result.complete) == (0, 0, True)
        assert (scheduler.nodes, scheduler.tasks) == before
        assert len(bus.published) == told

    async def test_what_the_scheduler_refuses_is_counted_and_the_rest_goes_on(
        self, bus: MemoryBus, scheduler: FakeScheduler
    ):
        async def refuse(_asked: Any) -> None:
            raise Refused("not valid")

        said: list[str] = []
        async with bus.serve("scheduler", {ADD_NODE: refuse}):
            result = await Takeover(bus, 2000, said.append).run(self.NODES[1:2], self.ROUTES[:1])
        assert said[0] == "node new:3000: failed, not valid"
        [(_, told)] = bus.published
        assert (told.act, told.target, told.outcome, told.reason) == ("NODE IMPORT", "new:3000", "failed", "not valid")
        assert not result.complete
        assert result.routes.skipped == 1
        assert len(scheduler.nodes) == 2


async def test_a_task_is_given_a_priority_and_moved_up(bus: MemoryBus, scheduler: FakeScheduler):
    scheduler.tasks += [task("a" * 36, TaskState.WAITING), task("b" * 36, TaskState.WAITING)]
    assert await execute(bus, parse(f"TASK PRIORITY {'b' * 36} 5")) == TaskChanged()
    assert scheduler.task(TaskId("b" * 36)).priority == 5
    assert await execute(bus, parse(f"TASK UP {'b' * 36}")) == TaskChanged()
    assert scheduler.tasks[0].id == "b" * 36
    refused = await execute(bus, parse(f"TASK PRIORITY {'b' * 36} 11"))
    assert refused == TaskChanged("a priority is -10 to 10")
    assert isinstance(await execute(bus, parse(f"TASK UP {RUNNING}")), TaskChanged)
    assert isinstance(await execute(bus, parse("TASK UP nobody")), Invalid)
    acts = [(each.act, each.target, each.outcome) for name, each in bus.published if name == "operator.acted"]
    assert acts[:3] == [
        ("TASK PRIORITY", f"{'b' * 36} +5", "done"),
        ("TASK UP", "b" * 36, "done"),
        ("TASK PRIORITY", f"{'b' * 36} +11", "refused"),
    ]


def test_acts_on_tasks_cover_the_words():
    assert {act.value for act in TaskAct} == {"CANCEL", "REMOVE", "RESTART", "UP"}


async def test_a_record_that_cannot_be_read_is_said_and_is_no_silence(bus: MemoryBus):
    async def unreadable(asked: TaskRef) -> TaskRecord:
        raise Unreadable(f"{asked.task} was written by a later version; this one cannot read it")

    async with bus.serve("scheduler", {DESCRIBE_TASK: unreadable}):
        answer = await execute(bus, parse(f"TASK INFO {RUNNING}"))
    assert answer == Failed(f"{RUNNING} was written by a later version; this one cannot read it")


async def test_a_plan_is_the_autoscalers_answer_or_invalid_without_one(bus: MemoryBus):
    async def planned(asked: PlanMachines) -> PlannedMachines:
        if asked.demand is None:
            raise Refused("no autoscaler is configured")
        return PlannedMachines(steps=(PlannedStep(act="create", what="small", reason="a task waits"),))

    async with bus.serve("autoscaler", {PLAN_MACHINES: planned}):
        found = await execute(bus, PlanMachinesCommand((ImaginedTasks(images=1),)))
        assert found == MachinePlan((PlannedStep(act="create", what="small", reason="a task waits"),))
        assert await execute(bus, PlanMachinesCommand(None)) == Invalid("no autoscaler is configured")
