"""spool/core/stored.py: what an owner's files take is right after every change."""

import pytest

from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.proxy.spool.core.stored import StoredBytes

ANNE, BERT = Owner("anne"), Owner("bert")
A, B = TaskId("a"), TaskId("b")


@pytest.mark.parametrize(
    ("changes", "anne_bytes", "bert_bytes"),
    [
        pytest.param([], 0, 0, id="nothing"),
        pytest.param([(A, ANNE, 5), (B, ANNE, 7)], 12, 0, id="two uploads"),
        pytest.param([(A, ANNE, 5), (A, ANNE, 9)], 9, 0, id="one that grows"),
        pytest.param([(A, ANNE, 5), (A, ANNE, 5)], 5, 0, id="told twice"),
        pytest.param([(A, ANNE, 5), (A, BERT, 5)], 0, 5, id="another owner"),
        pytest.param([(A, ANNE, 5), (B, ANNE, 7), (A, ANNE, 0)], 7, 0, id="files given up"),
        pytest.param([(A, ANNE, 5), (B, BERT, 7), (A, None, 0)], 0, 7, id="removed"),
        pytest.param([(A, ANNE, 5), (A, None, 0), (A, None, 0)], 0, 0, id="removed twice"),
        pytest.param([(A, None, 0), (A, ANNE, 3)], 3, 0, id="removed before it came"),
    ],
)
def test_each_change_counts_once(
    changes: list[tuple[TaskId, Owner | None, int]], anne_bytes: int, bert_bytes: int
) -> None:
    stored = StoredBytes()
    for task, owner, size_bytes in changes:
        if owner is None:
            stored.drop(task)
        else:
            stored.put(task, owner, size_bytes)
    assert (stored.of(ANNE), stored.of(BERT)) == (anne_bytes, bert_bytes)


def test_nothing_is_remembered_of_what_is_gone() -> None:
    stored = StoredBytes()
    stored.put(A, ANNE, 5)
    stored.put(B, BERT, 0)
    stored.drop(A)
    assert repr(stored) == "StoredBytes(tasks=0 owners=0)"
