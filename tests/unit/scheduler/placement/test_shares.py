"""Whose task is next: by weight and priority, simulated with the core alone."""

import random
from collections import Counter

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.placement import Waiting
from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.messages.tenants import SET_TENANTS, SetTenants, TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started
from clusterodm.services.scheduler.tasks.core.priorities import prioritized
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import FakeNode, a_play, task_id

UPLOAD_OWNER = InstanceId("p")


class Queue:
    """A queue and nodes with one slot each, on which each task takes as long as it has images."""

    def __init__(self, slots_count: int, *shares: TenantShare) -> None:
        self.state = ClusterState()
        self.state.set_shares(shares)
        self.state.proxies.open_poll(UPLOAD_OWNER, 1_000_000)
        self.running: list[tuple[int, TaskId]] = []
        self.order: list[tuple[Owner, int]] = []
        """Who was served, and with how many images."""
        self._at_ms = 0
        self._count = 0
        for number in range(slots_count):
            name = NodeId(f"n{number}")
            node = self.state.nodes.put(Node(id=name, hostname=name, port=1), clocks_at(0).instant)
            self.state.nodes.hit(node, NodeInfo(max_parallel_tasks=1), OurTasks(), clocks_at(0))

    def commit(self, owner: str, images_count: int = 10, priority: int = 0) -> None:
        """Commit a task, and give it a priority."""
        self._count += 1
        asked = SubmitTask(
            task=task_id(str(self._count)),
            owner=Owner(owner),
            name="x",
            upload_owner=UPLOAD_OWNER,
            created_at_ms=0,
            images_count=images_count,
        )
        commit_ms = self.state.index.next_commit_ms(clocks_at(0).wall_ms)
        task = prioritized(submitted(asked, commit_ms, ""), priority, clocks_at(0).wall_ms)
        self.state.index.put(task, 1, clocks_at(0))

    def run(self, most_count: int) -> None:
        """Serve so many tasks more."""
        self._place()
        while self.running and len(self.order) < most_count:
            self.running.sort(reverse=True)
            self._at_ms, name = self.running.pop()
            task = self.state.index.tasks[name]
            node = task.attempts[-1].node
            known = LastKnown(code=StatusCode.COMPLETED)
            done = observed(task, known, Site(node), AttemptPolicy(), clocks_at(self._at_ms).wall_ms)
            self.state.index.put(done, 1, clocks_at(self._at_ms))
            self._place()

    def _place(self) -> None:
        now = clocks_at(self._at_ms)
        for made in self.state.reservations.reserve_all(now.instant):
            node = self.state.nodes.get(made.node)
            assert node is not None
            task = placed(self.state.index.tasks[made.task], node.record, NodeTaskId(made.task), now.wall_ms)
            self.state.index.put(started(task, node.record.name, now.wall_ms), 1, now)
            self.order.append((task.owner, task.images_count or 0))
            self.running.append((self._at_ms + (task.images_count or 0) * 1000, made.task))


def share(owner: str, weight: int = 1, priority: int = 0, at_once: int = 0) -> TenantShare:
    return TenantShare(owner=Owner(owner), name=owner, weight=weight, priority=priority, tasks_at_once_count=at_once)


def images_by(order: list[tuple[Owner, int]]) -> Counter[str]:
    """Add up the images of each."""
    found: Counter[str] = Counter()
    for owner, images_count in order:
        found[owner] += images_count
    return found


def test_two_hundred_tenants_with_unequal_weights_get_their_shares_of_five_thousand_tasks() -> None:
    chance = random.Random(5)
    weights = {f"t{number}": 1 + number % 5 for number in range(200)}
    queue = Queue(40, *(share(owner, weight) for owner, weight in weights.items()))
    waiting = [owner for owner, weight in weights.items() for _ in range(round(5_000 * weight / sum(weights.values())))]
    chance.shuffle(waiting)
    for owner in waiting:
        queue.commit(owner, chance.randint(1, 100))
    queue.run(len(waiting) // 2)
    served = images_by(queue.order)
    total, whole = sum(served.values()), sum(weights.values())
    for weight in range(1, 6):
        of_weight = [owner for owner in weights if weights[owner] == weight]
        got, due = sum(served[owner] for owner in of_weight) / total, sum(weights[owner] for owner in of_weight) / whole
        assert abs(got / due - 1) < 0.05
    for owner, weight in weights.items():
        assert abs(served[owner] - total * weight / whole) <= 2 * 100, "no more than a task or two from its due"


def test_tenants_with_long_queues_get_their_shares_to_the_percent() -> None:
    chance = random.Random(7)
    weights = {"one": 1, "two": 2, "seven": 7}
    queue = Queue(8, *(share(owner, weight) for owner, weight in weights.items()))
    for _ in range(500):
        for owner in weights:
            queue.commit(owner, chance.randint(1, 100))
    queue.run(600)
    served = images_by(queue.order)
    for owner, weight in weights.items():
        assert abs(served[owner] / sum(served.values()) * 10 / weight - 1) < 0.05


def test_one_tenant_alone_is_served_in_the_order_of_its_commits_as_without_tenants() -> None:
    def order(*shares: TenantShare) -> list[tuple[Owner, int]]:
        queue = Queue(3, *shares)
        for images_count in (30, 5, 80, 1, 12, 50, 9):
            queue.commit("alone", images_count)
        queue.run(7)
        return queue.order

    assert order(share("alone", 3)) == order() == order(share("alone"), share("idle", 9))


def test_one_that_comes_later_has_neither_credit_nor_debt() -> None:
    queue = Queue(1, share("early"), share("late"))
    for _ in range(100):
        queue.commit("early")
    queue.run(50)
    for _ in range(50):
        queue.commit("late")
    queue.run(90)
    lately = [owner for owner, _ in queue.order[50:90]]
    assert abs(Counter(lately)["late"] - 20) <= 1


def test_a_higher_priority_goes_first_and_nobody_starves() -> None:
    queue = Queue(1, share("urgent", priority=5), share("usual", weight=10), share("patient", priority=-5))
    for _ in range(300):
        for owner in ("patient", "usual", "urgent"):
            queue.commit(owner)
    queue.run(200)
    served = Counter(owner for owner, _ in queue.order)
    assert served["urgent"] >= 175
    assert served["usual"] > 0
    assert served["patient"] > 0


def test_tasks_that_an_operator_raises_come_first_and_nobodys_share_is_another():
    chance = random.Random(3)
    weights = {"one": 1, "two": 2, "three": 3}
    queue = Queue(4, *(share(owner, weight) for owner, weight in weights.items()))
    for number in range(600):
        for owner in weights:
            queue.commit(owner, chance.randint(1, 100), priority=5 if owner == "one" and number % 10 == 0 else 0)
    queue.run(60)
    raised = Counter(owner for owner, _ in queue.order)
    assert raised["one"] >= 45, "they come first, but for every tenth slot"
    queue.run(900)
    served = images_by(queue.order)
    for owner, weight in weights.items():
        assert abs(served[owner] / sum(served.values()) * 6 / weight - 1) < 0.05


def test_a_lowered_task_waits_for_the_others_of_all_and_holds_nobody_up():
    queue = Queue(1, share("anne"), share("bert"))
    for priority in (0, -5, 0):
        queue.commit("anne", 1 if priority else 10, priority)
    for _ in range(3):
        queue.commit("bert")
    queue.run(6)
    assert queue.order[-1] == ("anne", 1)


def test_without_tenants_a_raised_task_goes_before_all_and_a_lowered_one_behind():
    queue = Queue(1)
    for images_count, priority in ((1, -1), (2, 0), (3, 2), (4, 0), (5, 2)):
        queue.commit("", images_count, priority)
    queue.run(5)
    assert [images_count for _, images_count in queue.order] == [3, 5, 2, 4, 1]


def test_a_slot_that_was_not_used_is_not_counted() -> None:
    queue = Queue(1, share("anne"), share("bert"))
    for owner in ("anne", "bert"):
        queue.commit(owner)
    for _ in range(5):
        (made,) = queue.state.reservations.reserve_all(clocks_at(0).instant)
        assert queue.state.index.tasks[made.task].owner == "anne"
        queue.state.reservations.release(made.task)


def test_what_goes_beyond_a_tenants_tasks_at_once_waits_and_others_pass() -> None:
    queue = Queue(4, share("anne", at_once=1), share("bert"))
    for owner in ("anne", "anne", "bert", "bert"):
        queue.commit(owner)
    queue.run(0)
    assert Counter(owner for owner, _ in queue.order) == {"anne": 1, "bert": 2}


async def test_a_tenants_limit_is_told_as_the_reason_and_outlives_the_scheduler() -> None:
    async with a_play(a=FakeNode(slots=3)) as play:
        await play.scheduler.requests()[SET_TENANTS](SetTenants(tenants=(share("anne", at_once=1),)))
        await play.commits("one", owner=Owner("anne"))
        await play.commits("two", owner=Owner("anne"))
        await play.starts("one")
        answer = await play.asks("two")
        assert isinstance(answer, Waiting)
        assert answer.reason == "1 task of this user is under way already (limit 1)"
        await play.starts_up()
        await play.probes()
        assert isinstance(await play.asks("two"), Waiting)


@pytest.mark.parametrize("wrong", [{"owner": ""}, {"owner": "a", "weight": 0}], ids=["no owner", "no weight"])
async def test_a_share_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    async with a_play() as play:
        with pytest.raises(Refused):
            await play.scheduler.requests()[SET_TENANTS](SetTenants(tenants=(TenantShare(**wrong),)))  # type: ignore[arg-type]
