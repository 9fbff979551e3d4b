"""Whatever happens in whatever order, the cluster's state stays whole. Played by chance with hypothesis over the pure core."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clusterodm.libs.common.clocks import Now, WallMs, read
from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock, clocks_at
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.forwarding.core import TAKE_UP_S, UNHEARD_S, Silence, is_current, judge
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.records.core import key_of, place_of
from clusterodm.services.scheduler.registry.ranking import need_of, place
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy, AttemptResult, FirstRenewal
from clusterodm.services.scheduler.task_life.life import canceled, removed, restarted, started_over, without_inputs
from clusterodm.services.scheduler.task_life.transitions import Site, observed, placed, started, tried, uncertain
from clusterodm.services.scheduler.tasks.core.priorities import first_of_its_kind, moved_up, prioritized
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import task_id

NODES = {"small": (1, 10), "medium": (2, 100), "large": (3, None)}
"""Slots and largest number of images."""
UPLOAD_OWNERS = [InstanceId("p"), InstanceId("q")]
OWNERS = [Owner("x"), Owner("y")]
PER_OWNER = 2
SILENCE_S = 3.0
POLICY = AttemptPolicy(max_attempts_count=3, first_backoff_ms=100, max_backoff_ms=1000)
pick = st.integers(min_value=0, max_value=10_000)


class Life(RuleBasedStateMachine):
    """Random commits, probes, losses, cancels and restarts, while the wall clock steps and the computer sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.state = self.new_state()
        self.committed: list[TaskId] = []
        self.revision = 0
        self.names = 0
        self.shares: tuple[str, ...] = ()
        """Labels to which one owner is confined."""
        self.taken_up: set[tuple[TaskId, int]] = set()
        """Attempts of which something may have gone to a node, by their numbers."""
        self.freed: set[tuple[TaskId, int]] = set()
        """Those whose slot was taken back because nobody had taken them up."""
        for name in NODES:
            self.state.nodes.put(Node(id=NodeId(name), hostname=name, port=1), self.now.instant)

    @staticmethod
    def new_state() -> ClusterState:
        return ClusterState(
            per_owner_count=PER_OWNER, longest_backoff_s=POLICY.max_backoff_ms / 1000, holder_silence_s=SILENCE_S
        )

    @property
    def now(self) -> Now:
        """Both clocks."""
        return read(self.clock)

    @property
    def now_ms(self) -> WallMs:
        """What time it is, or is said to be."""
        return self.clock.wall_ms()

    # --- what can happen -------------------------------------------------------------------------------------------

    @rule(
        images=st.sampled_from([1, 50, 500]), upload_owner=st.sampled_from(UPLOAD_OWNERS), owner=st.sampled_from(OWNERS)
    )
    def commits(self, images: int, upload_owner: InstanceId, owner: Owner) -> None:
        self.names += 1
        asked = SubmitTask(
            task=task_id(str(self.names)),
            name="x",
            upload_owner=upload_owner,
            created_at_ms=1,
            images_count=images,
            owner=owner,
        )
        task = submitted(asked, self.state.index.next_commit_ms(self.now_ms), "")
        self.committed.append(task.id)
        self.state.proxies.heard(upload_owner, self.now.instant)
        self.keep(task)
        self.walks()

    @rule(upload_owner=st.sampled_from(UPLOAD_OWNERS), places=st.integers(0, 2))
    def an_upload_owner_asks(self, upload_owner: InstanceId, places: int) -> None:
        """One with no place left asks, too: it is there. One that sends as many as it can is busy."""
        self.state.proxies.heard(upload_owner, self.now.instant)
        self.state.proxies.open_poll(upload_owner, places)
        self.walks()

    @rule(upload_owner=st.sampled_from(UPLOAD_OWNERS))
    def an_upload_owner_goes_away(self, upload_owner: InstanceId) -> None:
        """Its question ends without an answer, and for as long as it does not come back there is no other."""
        self.passes(1)
        self.state.proxies.rest(upload_owner)
        waits = (
            upload_owner in self.state.queue.upload_owners()
        )  # what is taken back from it meanwhile has not waited for so long
        self.passes(round(SILENCE_S * 1000) + 1)
        assert (upload_owner in self.state.proxies.away) is waits

    @rule(name=st.sampled_from(sorted(NODES)), foreign=st.integers(0, 2))
    def answers_a_probe(self, name: str, foreign: int) -> None:
        node = self.state.nodes.get(NodeId(name))
        assert node is not None
        slots, limit = NODES[name]
        before = self.state.index.ours_on(node)
        info = NodeInfo(max_parallel_tasks=slots, max_images=limit, task_queue_count=len(before[0]) + foreign)
        self.state.nodes.hit(node, info, self.state.index.ours_since(node, before), self.now)

    @rule(name=st.sampled_from(sorted(NODES)))
    def misses_a_probe(self, name: str) -> None:
        node = self.state.nodes.get(NodeId(name))
        assert node is not None
        if self.state.nodes.miss(node, "gone", self.now.instant):
            self.state.reservations.release_on(node.id)

    @rule(name=st.sampled_from(sorted(NODES)), labels=st.sampled_from([("tenant=x",), ("gpu",), ()]))
    def is_labeled(self, name: str, labels: tuple[str, ...]) -> None:
        """What runs there stays; what is reserved there is given up, as the handler does."""
        node = self.state.nodes.get(NodeId(name))
        assert node is not None
        self.state.nodes.put(msgspec.structs.replace(node.record, labels=labels), self.now.instant)
        self.state.reservations.release_on(node.id)

    @rule(labels=st.sampled_from([("gpu",), ()]))
    def a_tenant_is_confined(self, labels: tuple[str, ...]) -> None:
        self.state.set_shares([TenantShare(owner=Owner("y"), name="y", labels=labels)])
        self.shares = labels

    @rule(ms=st.integers(1, 2_000))
    def passes(self, ms: int) -> None:
        self.clock.pass_s(ms / 1000)
        self.state.proxies.check(self.state.queue.upload_owners(), self.now.instant)
        self.slots_are_taken_back()
        self.walks()

    def slots_are_taken_back(self) -> None:
        """What the loop does that watches silences."""
        for name, forwarding in list(self.state.index.forwarding.items()):
            if forwarding.uncertain_since is None and judge(forwarding, self.now.instant, 60.0) is Silence.NOT_TAKEN_UP:
                task = self.state.index.tasks[name]
                self.freed.add((name, task.attempts[-1].number))
                self.keep(tried(task, AttemptResult("not taken up"), "n", POLICY, self.now_ms))

    @rule(hours=st.sampled_from([-2, 2]))
    def the_wall_clock_steps(self, hours: int) -> None:
        self.clock.step_wall_s(hours * 3600)

    @rule()
    def the_computer_sleeps_for_an_hour(self) -> None:
        self.clock.step_wall_s(3600)  # the monotonic clock of Linux stands still meanwhile

    def walks(self) -> None:
        """Reserve for those who ask; who gets something is answered by that, and asks no more."""
        upload_owners = self.state.proxies
        asking = {upload_owner: upload_owners.room_count(upload_owner) for upload_owner in upload_owners.polling()}
        made = self.state.reservations.reserve_all(self.now.instant)
        for each in made:
            node, task = self.state.nodes.get(each.node), self.state.index.tasks[each.task]
            assert node is not None
            assert node.usable
            assert node.fits(task.images_count)
            assert "tenant=x" not in node.record.labels or task.owner == "x", (
                "no task on a node that is reserved for others"
            )
            assert task.owner != "y" or not self.shares or "gpu" in node.record.labels
            assert node.used_count <= node.slots_count, "no more is reserved than there are slots"
            asking[task.upload_owner] -= 1  # fails for one that does not ask
            assert self.state.index.not_before.get(task.id, self.now.instant) <= self.now.instant
        assert all(room_count >= 0 for room_count in asking.values()), "nobody gets more than it can send"
        assert self.state.reservations.reserve_all(self.now.instant) == [], "one walk gives out all that there is"
        self.nobody_who_asks_waits_in_front_of_room_that_fits()
        for each in made:
            upload_owners.rest(self.state.index.tasks[each.task].upload_owner)

    def nobody_who_asks_waits_in_front_of_room_that_fits(self) -> None:
        for task in (self.state.index.tasks[task] for lane in self.state.queue for _, task in lane):
            asks = self.state.proxies.room_count(task.upload_owner) and self.state.quota.left_count(task.owner)
            if (
                asks
                and task.id not in self.state.foresight.deferred
                and self.state.index.not_before.get(task.id, self.now.instant) <= self.now.instant
            ):
                assert place(self.state.nodes.open.listed(), need_of(task), self.state.nodes.listed()) is None

    @precondition(lambda self: self.state.reservations.made)
    @rule(number=pick, written=st.booleans(), renewal=st.sampled_from([FirstRenewal.BEFORE, FirstRenewal.DONE]))
    def an_attempt_is_written_down(self, number: int, written: bool, renewal: FirstRenewal) -> None:
        """One whose question counts for its first renewal may be with its node at once."""
        reserved = self.one(self.state.reservations.made.values(), number)
        node = self.state.nodes.get(reserved.node)
        assert node is not None
        if written:
            self.keep(
                placed(self.state.index.tasks[reserved.task], node.record, NodeTaskId(reserved.task), self.now_ms)
            )
            self.state.index.forwarding[reserved.task].await_upload_owner(renewal)
            if renewal is FirstRenewal.DONE:
                self.taken_up.add((reserved.task, self.state.index.tasks[reserved.task].attempts[-1].number))
        else:
            self.state.reservations.release(reserved.task)

    @precondition(lambda self: any(task.attempts for task in self.state.index.tasks.values()))
    @rule(number=pick, back=st.integers(0, 2))
    def an_upload_owner_renews(self, number: int, back: int) -> None:
        """In time, or late: of an attempt that is over, too. Only where it is granted anything goes to a node."""
        task = self.one((task for task in self.state.index.tasks.values() if task.attempts), number)
        self.state.hear(task.upload_owner, self.now.instant)
        attempt = task.attempts[max(0, len(task.attempts) - 1 - back)].number
        if is_current(task, attempt, AttemptState.FORWARDING):
            self.state.index.forwarding[task.id].unheard_since = None
            self.taken_up.add((task.id, attempt))

    @precondition(lambda self: self.begun())
    @rule(number=pick, how=st.sampled_from(["started", "uncertain", "failed", "refused"]))
    def is_forwarded(self, number: int, how: str) -> None:
        task = self.state.index.tasks[self.one(self.begun(), number)]
        ways = {
            "started": lambda: started(task, "n", self.now_ms),
            "uncertain": lambda: uncertain(task, "silent"),
            "failed": lambda: tried(task, AttemptResult("reset"), "n", POLICY, self.now_ms),
            "refused": lambda: tried(task, AttemptResult("no", counted=True), "n", POLICY, self.now_ms),
        }
        self.keep(ways[how]())

    def begun(self) -> list[TaskId]:
        """Attempts that their upload owners have taken up."""
        return [task for task, forwarding in self.state.index.forwarding.items() if forwarding.unheard_since is None]

    @precondition(lambda self: self.state.index.running)
    @rule(number=pick, code=st.sampled_from(list(StatusCode)), error=st.sampled_from(["", "Not enough memory"]))
    def is_observed(self, number: int, code: StatusCode, error: str) -> None:
        task = self.state.index.tasks[self.one(self.state.index.running, number)]
        self.keep(observed(task, LastKnown(code=code, error=error), Site("n", 8), POLICY, self.now_ms))

    @precondition(lambda self: self.state.index.running)
    @rule(number=pick, fatal=st.booleans())
    def is_lost(self, number: int, fatal: bool) -> None:
        task = self.state.index.tasks[self.one(self.state.index.running, number)]
        result = AttemptResult("lost", counted=True, fatal=fatal, cleanup=Cleanup.REMOVE)
        self.keep(tried(task, result, "n", POLICY, self.now_ms))

    @precondition(lambda self: self.state.index.tasks)
    @rule(number=pick, what=st.sampled_from(["cancel", "remove", "restart", "start over", "lose inputs", "forget"]))
    def its_client_acts(self, number: int, what: str) -> None:
        task = self.state.index.tasks[self.one(self.state.index.tasks, number)]
        if what == "cancel" and not task.state.ended:
            self.keep(canceled(task, Cleanup.CANCEL, self.now_ms))
        if what == "remove":
            self.keep(removed(task, self.now_ms))
        if what == "restart" and task.state.ended and task.attempt and not task.removed:
            self.keep(restarted(task, None, self.now_ms))
        if what == "start over" and task.state.ended and task.inputs_kept and not task.removed:
            self.keep(started_over(task, None, self.now_ms))
        if what == "lose inputs" and task.state not in {TaskState.WAITING, TaskState.FORWARDING}:
            self.keep(without_inputs(task, "full", self.now_ms))
        if what == "forget" and task.state.ended:
            self.state.index.drop(task.id)

    @precondition(lambda self: self.state.index.waiting)
    @rule(number=pick, priority=st.integers(-2, 2))
    def an_operator_gives_it_a_priority(self, number: int, priority: int) -> None:
        task = self.state.index.tasks[self.one(self.state.index.waiting, number)]
        self.keep(prioritized(task, priority, self.now_ms))
        self.walks()

    @precondition(lambda self: self.state.index.waiting)
    @rule(number=pick)
    def an_operator_moves_it_up(self, number: int) -> None:
        """It passes its owner's others, and of the same priority nobody else's but those between."""
        task = self.state.index.tasks[self.one(self.state.index.waiting, number)]
        in_order = [self.state.index.tasks[each] for each in self.state.index.by_place]
        self.keep(moved_up(task, first_of_its_kind(task, in_order), self.now_ms))
        if task.id in self.state.index.waiting:
            after = [self.state.index.tasks[each] for each in self.state.index.by_place]
            assert first_of_its_kind(task, after).id == task.id
            assert [each.id for each in after if each.id != task.id] == [
                each.id for each in in_order if each.id != task.id
            ]
        self.walks()

    @rule()
    def the_scheduler_starts_again(self) -> None:
        nodes, tasks = list(self.state.nodes), list(self.state.index.tasks.values())
        revisions = dict(self.state.index.revisions)
        self.state = self.new_state()
        for node in nodes:
            self.state.nodes.put(node.record, self.now.instant)
        for task in reversed(tasks):
            self.state.index.put(task, revisions[task.id], self.now)
        self.state.set_shares([TenantShare(owner=Owner("y"), name="y", labels=self.shares)] if self.shares else [])

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def a_task_is_in_exactly_one_place(self) -> None:
        for task in self.state.index.tasks.values():
            places = {
                TaskState.WAITING: self.state.index.waiting.has(key_of(task)),
                TaskState.FORWARDING: task.id in self.state.index.forwarding,
                TaskState.RUNNING: task.id in self.state.index.running,
            }
            assert [state for state, there in places.items() if there] == ([] if task.state.ended else [task.state])
        assert len(self.state.index.waiting) == sum(
            task.state is TaskState.WAITING for task in self.state.index.tasks.values()
        )
        assert len(self.state.index.all) == len(self.state.index.tasks)
        filed = [task for lane in self.state.queue for _, task in lane]
        assert self.state.queue.images_count == sum(self.state.index.tasks[task].images_count for task in filed)
        assert sorted(filed) == sorted(
            task for task in self.state.index.waiting if task not in self.state.reservations.made
        )
        assert len(self.state.queue) == len(filed)

    @invariant()
    def the_queue_is_in_the_order_of_places(self) -> None:
        waiting = [self.state.index.tasks[task] for task in self.state.index.waiting]
        assert list(self.state.index.by_place) == [task.id for task in sorted(waiting, key=place_of)]
        for lane in self.state.queue:
            assert list(lane) == sorted(place_of(self.state.index.tasks[task]) for _, task in lane)
        listed = self.state.order.page(0, 10_000)
        assert sorted(listed) == sorted(task.id for task in waiting), "each once"
        if not self.state.reservations.made:
            assert [self.state.order.position(self.state.index.tasks[task]) for task in listed] == list(
                range(1, len(listed) + 1)
            )

    @invariant()
    def slots_are_neither_leaked_nor_given_twice(self) -> None:
        under_way = Counter(
            task.attempts[-1].node
            for task in self.state.index.tasks.values()
            if task.state in {TaskState.FORWARDING, TaskState.RUNNING}
        )
        reserved = Counter(each.node for each in self.state.reservations.made.values())
        for node in self.state.nodes:
            assert len(node.tasks) == under_way[node.id]
            assert len(node.reserved) == reserved[node.id]
            assert not node.tasks & node.reserved
            assert node.info is None or node.ours_count <= node.slots_count  # after a start no node has said yet

    @invariant()
    def nodes_are_found_by_how_they_are(self) -> None:
        known, nodes = [*self.state.nodes], self.state.nodes
        assert nodes.listed() == tuple(node for node in known if not node.record.retired)
        assert {*nodes.offline()} == {node for node in known if not node.online}
        assert {*nodes.draining()} == {node for node in known if node.record.draining and not node.record.retired}
        assert {*nodes.retired()} == {node for node in known if node.record.retired}

    @invariant()
    def reservations_are_of_waiting_tasks_on_nodes_that_may_take_them(self) -> None:
        for each in self.state.reservations.made.values():
            node = self.state.nodes.get(each.node)
            assert node is not None
            assert self.state.index.tasks[each.task].state is TaskState.WAITING
            assert node.usable
            assert node.fits(self.state.index.tasks[each.task].images_count)

    @invariant()
    def what_each_upload_owner_sends_is_known(self) -> None:
        sent = [*self.state.reservations.made]
        sent += [task for task in self.state.index.forwarding if self.attempt_of(task) is AttemptState.FORWARDING]
        for upload_owner in UPLOAD_OWNERS:
            ours = {task for task in sent if self.state.index.tasks[task].upload_owner == upload_owner}
            assert set(self.state.proxies.sending(upload_owner)) == ours

    @invariant()
    def no_task_is_demand_while_a_slot_that_fits_is_free(self) -> None:
        demand = demand_of(self.state, self.now)
        free = [node for node in self.state.nodes if node.usable and node.free_count]
        for wanted in demand.waiting:
            task = self.state.index.tasks[wanted.task]
            assert task.state is TaskState.WAITING
            assert task.upload_owner not in self.state.proxies.away
            assert self.state.quota.left_count(task.owner)
            assert place(free, need_of(task), self.state.nodes.listed()) is None
        for owner in OWNERS:
            of_owner = sum(self.state.index.tasks[wanted.task].owner == owner for wanted in demand.waiting)
            assert of_owner <= self.state.quota.left_count(owner)
        assert demand.waiting_count == len(demand.waiting)
        assert demand.slot_free_count == len(demand.slot_free)
        left_out = demand.slot_free_count + demand.upload_owner_away_count + demand.owner_limit_count
        assert demand.waiting_count + left_out == len(self.state.queue), "each waiting task is counted once"

    @invariant()
    def a_slot_that_was_taken_back_was_never_used(self) -> None:
        assert not self.taken_up & self.freed

    @invariant()
    def no_slot_is_kept_for_long_for_an_upload_owner_that_says_nothing(self) -> None:
        for forwarding in self.state.index.forwarding.values():
            if forwarding.unheard_since is not None:
                silent_s = self.now.instant - forwarding.heard_at
                assert silent_s <= TAKE_UP_S
                assert self.now.instant - forwarding.unheard_since <= UNHEARD_S

    def attempt_of(self, task: str) -> AttemptState:
        return self.state.index.tasks[TaskId(task)].attempts[-1].state

    @invariant()
    def the_tasks_of_each_owner_are_counted_rightly(self) -> None:
        under_way = {*self.state.index.running, *self.state.index.forwarding, *self.state.reservations.made}
        for owner in OWNERS:
            counted = sum(self.state.index.tasks[task].owner == owner for task in under_way)
            assert self.state.quota.used_count(owner) == counted

    @invariant()
    def the_attempt_goes_with_the_state(self) -> None:
        for task in self.state.index.tasks.values():
            going = [one for one in task.attempts if one.state is not AttemptState.ENDED]
            assert len(going) == (1 if task.state in {TaskState.FORWARDING, TaskState.RUNNING} else 0)
            assert going in ([], [task.attempt])

    @invariant()
    def the_open_nodes_are_those_with_room(self) -> None:
        with_room = {node.id for node in self.state.nodes if node.usable and node.free_count > 0}
        assert {node.id for node in self.state.nodes.open.listed()} == with_room

    @invariant()
    def who_is_held_back_waits_declines_a_free_slot_and_may_say_why(self) -> None:
        for task, deferred in self.state.foresight.deferred.items():
            assert self.state.index.waiting.has(key_of(self.state.index.tasks[task]))
            assert task not in self.state.reservations.made
            assert deferred.declined.pace > min(self.state.nodes.open.slots.counts)
            assert deferred.declined.record.name in self.state.reasons.why_waiting(
                self.state.index.tasks[task], self.now.instant
            )

    @invariant()
    def no_time_limit_is_longer_than_it_can_be_whatever_the_wall_clock_does(self) -> None:
        for not_before in self.state.index.not_before.values():
            assert not_before - self.now.instant <= POLICY.max_backoff_ms / 1000

    @invariant()
    def nothing_under_way_has_begun_in_the_future(self) -> None:
        assert self.state.index.began.keys() == self.state.index.running.keys()
        for began in (
            *self.state.index.began.values(),
            *(forwarding.began for forwarding in self.state.index.forwarding.values()),
        ):
            assert began <= self.now.instant

    @invariant()
    def the_order_is_that_of_the_commits_whatever_the_wall_clock_did(self) -> None:
        assert list(self.state.index.all) == [task for task in self.committed if task in self.state.index.tasks]

    @invariant()
    def the_slots_of_each_pace_are_counted_rightly(self) -> None:
        counted = Counter({0: 0})
        for node in self.state.nodes:
            counted[node.pace] += node.slots_count if node.usable and not node.admission.reserved_for else 0
        assert +self.state.nodes.open.slots.counts == +counted

    @invariant()
    def nothing_is_filed_for_a_task_that_is_gone(self) -> None:
        for tasks in (
            *self.state.index.on_node.values(),
            *self.state.index.of_owner.values(),
            self.state.index.waiting,
        ):
            assert all(task in self.state.index.tasks for task in tasks)
        assert all(task in self.state.index.tasks for tasks in self.state.index.to_clean.values() for task in tasks)
        assert all(task in self.state.index.tasks for task in self.state.index.by_node_task.values())

    def keep(self, task: Task) -> None:
        self.revision += 1
        self.state.index.put(task, self.revision, self.now)

    @staticmethod
    def one(things: Iterable[Any], number: int) -> Any:
        listed = list(things)
        return listed[number % len(listed)]


class FirstComeFirstServed(RuleBasedStateMachine):
    """Tasks of one kind and one upload owner get slots in the order of their commits."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ClusterState()
        self.state.proxies.open_poll(UPLOAD_OWNERS[0], 1_000)
        self.names = 0
        self.served: list[int] = []
        node = self.state.nodes.put(Node(id=NodeId("a"), hostname="a", port=1), clocks_at(0).instant)
        self.node = node
        self.slots(2)

    @rule(count=st.integers(0, 4))
    def slots(self, count: int) -> None:
        before = self.state.index.ours_on(self.node)
        info = NodeInfo(max_parallel_tasks=count, task_queue_count=len(before[0]))
        self.state.nodes.hit(self.node, info, self.state.index.ours_since(self.node, before), clocks_at(0))
        self.walk()

    @rule()
    def commits(self) -> None:
        asked = SubmitTask(
            task=task_id(str(self.names)), name="x", upload_owner=UPLOAD_OWNERS[0], created_at_ms=1, images_count=1
        )
        self.names += 1
        self.state.index.put(submitted(asked, self.state.index.next_commit_ms(5), ""), 1, clocks_at(0))
        self.walk()

    @precondition(lambda self: self.state.index.running)
    @rule(number=pick)
    def one_ends(self, number: int) -> None:
        task = self.state.index.tasks[Life.one(self.state.index.running, number)]
        self.state.index.put(
            observed(task, LastKnown(code=StatusCode.COMPLETED), Site("a"), POLICY, 0), 1, clocks_at(0)
        )
        self.walk()

    def walk(self) -> None:
        for reserved in self.state.reservations.reserve_all(clocks_at(0).instant):
            task = self.state.index.tasks[reserved.task]
            self.served.append(task.committed_at_ms)
            self.state.index.put(
                started(placed(task, self.node.record, NodeTaskId(task.id), 0), "a", 0), 1, clocks_at(0)
            )

    @invariant()
    def the_order_is_that_of_the_commits(self) -> None:
        assert self.served == sorted(self.served)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40)
TestFirstComeFirstServed = FirstComeFirstServed.TestCase
TestFirstComeFirstServed.settings = settings(max_examples=30, stateful_step_count=30)
