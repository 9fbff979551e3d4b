"""Which of the waiting tasks a walk of the queue is about."""

import pytest

from libs.common.clocks import Instant
from libs.common.messages import SubmitTask
from libs.common.model import InstanceId, Task
from services.scheduler.core.queue import Unpromised
from services.scheduler.core.tasks import submitted
from tests.scheduling import task_id

VERSION = 7


def waiting(name: str, at_ms: int) -> Task:
    asked = SubmitTask(task=task_id(name), name=name, holder=InstanceId("p"), created_at_ms=0, images_count=3)
    return submitted(asked, at_ms, "")


@pytest.fixture
def queue() -> Unpromised:
    made = Unpromised()
    for name, at_ms, later_s in (("b", 2, 500), ("a", 1, 0)):
        made.add(waiting(name, at_ms), Instant(later_s) if later_s else None)
    assert list(made.to_walk(VERSION, Instant(100))) == [task_id("a"), task_id("b")]
    made.walked(VERSION)
    return made


def test_a_walk_is_about_what_is_new(queue: Unpromised):
    assert list(queue.to_walk(VERSION, Instant(101))) == []
    queue.add(waiting("c", 3), None)
    assert list(queue.to_walk(VERSION, Instant(102))) == [task_id("c")]
    assert (len(queue), queue.images_count) == (3, 9)


def test_a_walk_is_about_all_when_a_node_has_changed(queue: Unpromised):
    assert list(queue.to_walk(VERSION + 1, Instant(101))) == [task_id("a"), task_id("b")]


def test_a_walk_is_about_all_when_the_time_of_one_has_come(queue: Unpromised):
    assert list(queue.to_walk(VERSION, Instant(499))) == []
    assert list(queue.to_walk(VERSION, Instant(500))) == [task_id("a"), task_id("b")]
    queue.walked(VERSION)
    assert list(queue.to_walk(VERSION, Instant(501))) == []


def test_a_walk_is_about_all_when_somebody_says_so(queue: Unpromised):
    queue.walk_all()
    assert list(queue.to_walk(VERSION, Instant(101))) == [task_id("a"), task_id("b")]


def test_what_is_taken_out_is_not_new_any_more(queue: Unpromised):
    queue.add(waiting("c", 3), None)
    for task in (waiting("c", 3), waiting("b", 2), waiting("never there", 9)):
        queue.discard(task)
    assert list(queue.to_walk(VERSION, Instant(1_000))) == []
    assert (list(queue), queue.images_count) == ([task_id("a")], 3)
