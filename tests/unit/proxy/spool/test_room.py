"""settings.py, spool/core/upload.py and finishing/core.py: how much of the disk stays free, and whose inputs go."""

import pytest

from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.proxy.finishing.core import EvictionCandidate, to_give_up
from clusterodm.services.proxy.settings import minimum_bytes
from clusterodm.services.proxy.spool.core.upload import wanted_bytes

RUNNING, FAILED, WAITING = TaskState.RUNNING, TaskState.FAILED, TaskState.WAITING


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        pytest.param("5GB", 5_000_000_000, id="gigabytes"),
        pytest.param("1.5 mb", 1_500_000, id="a fraction, a space, small letters"),
        pytest.param("10%", 100_000_000_000, id="a share of the disk"),
        pytest.param("200%", 1_000_000_000_000, id="no more than the disk"),
        pytest.param("0", 0, id="nothing"),
    ],
)
def test_a_size_carries_its_unit(text: str, size_bytes: int):
    assert minimum_bytes(text, 10**12) == size_bytes


@pytest.mark.parametrize("text", ["5", "", "GB", "-1GB", "5 apples", "5GB or so"])
def test_a_size_without_unit_is_refused(text: str):
    with pytest.raises(ValueError, match="a size with its unit"):
        minimum_bytes(text, 10**12)


@pytest.mark.parametrize(("free", "wanted"), [(300, 0), (200, 0), (150, 50), (0, 200)])
def test_inputs_begin_to_go_at_twice_the_minimum(free: int, wanted: int):
    assert wanted_bytes(free, 100) == wanted


def kept(name: str, state: TaskState, received_at_ms: int, size_bytes: int = 10) -> EvictionCandidate:
    return EvictionCandidate(TaskId(name), state, received_at_ms, size_bytes)


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        pytest.param(0, [], id="there is room"),
        pytest.param(10, ["failed"], id="what is kept for a restart goes first"),
        pytest.param(25, ["failed", "old", "young"], id="then the oldest"),
        pytest.param(1000, ["failed", "old", "young"], id="never what is still needed, and nothing that is empty"),
    ],
)
def test_the_oldest_go_as_far_as_needed(wanted: int, gone: list[str]):
    tasks = [
        kept("young", RUNNING, 3),
        kept("waits", WAITING, 0),
        kept("old", RUNNING, 1),
        kept("failed", FAILED, 4),
        kept("empty", RUNNING, 0, 0),
    ]

    assert to_give_up(tasks, wanted) == gone
