"""The order that people are shown is the one in which tasks get their slots."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.run_times import Workload
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.forecast import QueueForecast
from clusterodm.services.scheduler.placement.core.queue_order import FORESEEN_COUNT
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started
from clusterodm.services.scheduler.tasks.core.priorities import prioritized
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import task_id
from tests.work import calls_of

OWNERS = ["anne", "bert", "carl"]
UPLOAD_OWNERS = [InstanceId("p"), InstanceId("q")]
NODE = NodeId("n")
NOW = clocks_at(0)
commits = st.lists(
    st.tuples(st.sampled_from(OWNERS), st.integers(1, 50), st.integers(-1, 2), st.sampled_from(UPLOAD_OWNERS)),
    max_size=30,
)
shares = st.builds(
    lambda *each: [
        TenantShare(owner=Owner(owner), name=owner, weight=weight, priority=priority)
        for owner, (weight, priority) in zip(OWNERS, each, strict=True)
    ],
    *[st.tuples(st.integers(1, 5), st.integers(-1, 1))] * 3,
)


def a_queue(tasks: list[tuple[str, int, int, InstanceId]], *tenants: TenantShare) -> ClusterState:
    """Tasks that wait, in front of one node with one slot."""
    state = ClusterState()
    state.set_shares(tenants)
    node = state.nodes.put(Node(id=NODE, hostname="n", port=1), NOW.instant)
    state.nodes.hit(node, NodeInfo(max_parallel_tasks=1), OurTasks(), NOW)
    for number, (owner, images_count, priority, upload_owner) in enumerate(tasks):
        asked = SubmitTask(
            task=task_id(str(number)), owner=Owner(owner), name="x", upload_owner=upload_owner, created_at_ms=0,
            images_count=images_count,
        )  # fmt: skip
        begun = submitted(asked, state.index.next_commit_ms(NOW.wall_ms), "")
        state.index.put(prioritized(begun, priority, NOW.wall_ms), 1, NOW)
    return state


def served(state: ClusterState) -> list[TaskId]:
    """Give the slot to one task after the other."""
    for upload_owner in UPLOAD_OWNERS:
        state.proxies.open_poll(upload_owner, 1_000)
    order: list[TaskId] = []
    while made := state.reservations.reserve_all(NOW.instant):
        (each,) = made
        order.append(each.task)
        node = state.nodes.get(NODE)
        assert node is not None
        task = started(placed(state.index.tasks[each.task], node.record, NodeTaskId(each.task), 0), "n", 0)
        state.index.put(task, 1, NOW)
        state.index.put(observed(task, LastKnown(code=StatusCode.COMPLETED), Site(NODE), AttemptPolicy(), 0), 1, NOW)
    return order


@settings(max_examples=150)
@given(tasks=commits, tenants=shares, before=st.integers(0, 12))
def test_what_is_listed_is_what_comes_where_many_slots_are_free_at_once(
    tasks: list[tuple[str, int, int, InstanceId]], tenants: list[TenantShare], before: int
):
    state = a_queue(tasks, *tenants)
    for _ in range(before if tasks else 0):
        state.shares.served(state.index.tasks[task_id("0")])
    listed = state.order.page(0, 100)
    for upload_owner in UPLOAD_OWNERS:
        state.proxies.open_poll(upload_owner, 1_000)
    node = state.nodes.get(NODE)
    assert node is not None
    state.nodes.hit(node, NodeInfo(max_parallel_tasks=100), OurTasks(), NOW)
    assert [made.task for made in state.reservations.reserve_all(NOW.instant)] == listed


@settings(max_examples=150)
@given(tasks=commits, tenants=shares, before=st.integers(0, 12))
def test_starts_are_estimated_in_the_order_that_is_listed(
    tasks: list[tuple[str, int, int, InstanceId]], tenants: list[TenantShare], before: int
):
    state = a_queue(tasks, *tenants)
    for _ in range(30):
        state.slot_times.learn_time(Workload(images_count=10), "", 60_000)
    for _ in range(before if tasks else 0):
        state.shares.served(state.index.tasks[task_id("0")])
    listed = state.order.page(0, 100)
    forecast = QueueForecast(state, NOW.instant)
    for _ in forecast.walk():
        pass
    assert sorted(forecast.found, key=lambda task: forecast.found[task].start) == listed


@settings(max_examples=150)
@given(tasks=commits, tenants=st.one_of(shares, st.just([])), before=st.integers(0, 12))
def test_what_is_listed_is_what_comes(
    tasks: list[tuple[str, int, int, InstanceId]], tenants: list[TenantShare], before: int
):
    state = a_queue(tasks, *tenants)
    for _ in range(before):  # the clocks have gone on
        state.shares.served(state.index.tasks[task_id("0")]) if tasks else None
    listed = state.order.page(0, 100)
    assert [state.order.position(state.index.tasks[task]) for task in listed] == list(range(1, len(listed) + 1))
    assert [state.order.page(at, 7) for at in range(0, len(listed), 7)] == [
        listed[at : at + 7] for at in range(0, len(listed), 7)
    ]
    assert served(state) == listed


def test_what_is_far_behind_is_listed_by_place_and_each_task_once():
    tasks = [(OWNERS[number % 3], 10, 0, UPLOAD_OWNERS[0]) for number in range(FORESEEN_COUNT + 100)]
    state = a_queue(tasks, TenantShare(owner=Owner("anne"), name="anne", weight=3))
    listed = [task for at in range(0, len(tasks), 50) for task in state.order.page(at, 50)]
    assert sorted(listed) == sorted(state.index.waiting)
    assert [state.order.position(state.index.tasks[task]) for task in listed] == list(range(1, len(listed) + 1))


def test_a_long_queue_of_many_tenants_is_played_once_and_listed_by_few_calls():
    tasks = [(f"t{number % 200}", 10, 0, UPLOAD_OWNERS[0]) for number in range(2_000)]
    state = a_queue(tasks, *(TenantShare(owner=Owner(f"t{number}"), weight=1 + number % 5) for number in range(200)))
    pages: list[list[TaskId]] = []
    first, far, again = (calls_of(lambda at=at: pages.append(state.order.page(at, 50))) for at in (0, 1_900, 0))
    assert [len(page) for page in pages] == [50, 50, 50]
    assert first < 1_000 * FORESEEN_COUNT, "some for each that is played, not for each tenant every time"
    assert far < 5 * len(tasks)
    assert again < 100, "nothing has changed"
