"""What a record is worth beside what its upload owner knows."""

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.tasks import KnownAttempt, KnownEnd
from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.cluster.ports import Standing
from clusterodm.services.proxy.recovery.handlers.comparing import HOLDER_START_S, SETTLE_S, of_held, standing
from clusterodm.services.proxy.spool.core.history import History, Holding, removed
from tests.fake_scheduler import task

SILENT = None
NOTHING = Holding()
REMOVED = Holding(history=removed(History(), WallMs(1)))
"""What `holding` says of a task that was removed."""


def record(*attempts: int, state: TaskState = TaskState.WAITING, **more: object) -> Task:
    made = (Attempt(number=each, node=NodeId("n"), node_task_id=NodeTaskId(f"on-{each}")) for each in attempts)
    return task(TaskId("t"), state, attempts=tuple(made), **more)


def knows(*attempts: int, end: TaskState | None = None) -> Holding:
    made = (
        KnownAttempt(number=each, node=NodeId("n"), hostname="h", port=1, node_task_id=NodeTaskId(f"on-{each}"))
        for each in attempts
    )
    ended = KnownEnd(state=end, at_ms=1_000) if end else None
    return Holding(is_held=True, is_submitted=True, history=History(attempts=tuple(made), end=ended))


@pytest.mark.parametrize(
    ("shown", "known", "connected_s", "expected"),
    [
        pytest.param(record(), knows(), 0, Standing.LAST, id="nothing was done since the commit"),
        pytest.param(record(1), knows(1), 0, Standing.LAST, id="all attempts are recorded"),
        pytest.param(record(1, 2), knows(1), 0, Standing.LAST, id="more was recorded"),
        pytest.param(record(1), knows(1, 2), 0, Standing.OLDER, id="it runs in another attempt"),
        pytest.param(record(1), knows(1, 2), 1e6, Standing.OLDER, id="however long that takes"),
        pytest.param(record(), knows(end=TaskState.CANCELED), 0, Standing.OLDER, id="canceled, restored as queued"),
        pytest.param(
            record(1, state=TaskState.RUNNING),
            knows(1, end=TaskState.COMPLETED),
            0,
            Standing.OLDER,
            id="completed, restored as running",
        ),
        pytest.param(
            record(1, state=TaskState.FAILED), knows(1, 2), 0, Standing.OLDER, id="restarted, restored as failed"
        ),
        pytest.param(
            record(restarted_at_ms=1_001), knows(end=TaskState.FAILED), 0, Standing.LAST, id="restarted since its end"
        ),
        pytest.param(
            record(state=TaskState.FAILED), knows(end=TaskState.CANCELED), 0, Standing.LAST, id="an end is an end"
        ),
        pytest.param(record(), REMOVED, 1e6, Standing.OLDER, id="removed, restored as queued"),
        pytest.param(
            record(state=TaskState.COMPLETED), REMOVED, 1e6, Standing.OLDER, id="removed, restored as completed"
        ),
        pytest.param(record(), Holding(is_held=True), 0, Standing.LAST, id="of an earlier version"),
        pytest.param(record(), NOTHING, SETTLE_S - 1, Standing.UNSURE, id="it has ended there since, or is lost"),
        pytest.param(
            record(inputs_kept=True),
            NOTHING,
            SETTLE_S,
            Standing.UNSURE,
            id="it waits: the scheduler looks for it on nodes",
        ),
        pytest.param(
            record(state=TaskState.RUNNING, inputs_kept=True),
            NOTHING,
            SETTLE_S,
            Standing.LAST,
            id="lost: that has been reported",
        ),
        pytest.param(
            record(inputs_kept=False), NOTHING, SETTLE_S, Standing.LAST, id="nobody expects its files to be there"
        ),
        pytest.param(record(state=TaskState.COMPLETED), NOTHING, 0, Standing.LAST, id="ended, and nothing is kept"),
        pytest.param(
            record(inputs_kept=True),
            Holding(is_replaced=True),
            0,
            Standing.LAST,
            id="its upload owner is gone for good",
        ),
        pytest.param(record(), SILENT, HOLDER_START_S - 1, Standing.UNSURE, id="its upload owner may be starting"),
        pytest.param(record(), SILENT, HOLDER_START_S, Standing.LAST, id="its upload owner is away"),
    ],
)
def test_a_record_counts_when_its_upload_owner_knows_no_more(
    shown: Task, known: Holding | None, connected_s: float, expected: Standing
):
    assert standing(shown, known, connected_s) is expected


@pytest.mark.parametrize(
    ("is_held", "answers", "connected_s", "expected"),
    [
        pytest.param(True, True, 30, True, id="it holds it"),
        pytest.param(False, True, 0, False, id="it does not"),
        pytest.param(False, False, 0, True, id="it may be starting"),
        pytest.param(False, False, HOLDER_START_S, False, id="it is away"),
    ],
)
def test_an_unknown_task_may_be_one_that_another_proxy_holds(
    is_held: bool, answers: bool, connected_s: float, expected: bool
):
    assert of_held(is_held, connected_s, answers=answers) is expected
