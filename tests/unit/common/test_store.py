"""When a watch has told all that there was, whatever nats-py says."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.kv import KeyValue

from libs.common.store import Watch

LAST, BEFORE_IT = 0, 1


def entry(delta: int) -> KeyValue.Entry:
    """A value after which so many more are on their way."""
    return KeyValue.Entry(bucket="b", key="k", value=b"{}", revision=1, delta=delta, created=None, operation=None)


class Store:
    """A store whose consumer has sent so many values, and has so many to send."""

    def __init__(self, sent_count: int, pending_count: int) -> None:
        delivered = SimpleNamespace(consumer_seq=sent_count)
        self._told = SimpleNamespace(num_pending=pending_count, delivered=delivered, stream_name="KV_b", name="c")

    async def watchall(self, *, meta_only: bool) -> Any:
        del meta_only
        return SimpleNamespace(_sub=self)

    async def consumer_info(self) -> Any:
        return self._told


@pytest.mark.parametrize(
    ("sent_count", "pending_count", "entries", "expected"),
    [
        pytest.param(0, 0, [None], [True], id="an empty bucket"),
        pytest.param(1, 0, [None, entry(LAST)], [False, True], id="the sign comes before a value that was sent"),
        pytest.param(0, 2, [entry(BEFORE_IT), entry(LAST), None], [False, True, False], id="values, then the sign"),
        pytest.param(0, 1, [None, entry(LAST)], [False, True], id="the sign comes before a value that is to be sent"),
        pytest.param(0, 2, [entry(BEFORE_IT), None], [False, True], id="what comes last is not shown"),
        pytest.param(0, 0, [None, entry(LAST), entry(LAST)], [True, False, False], id="only once"),
    ],
)
async def test_a_watch_is_complete_when_all_that_there_was_has_been_told(
    sent_count: int, pending_count: int, entries: Sequence[KeyValue.Entry | None], expected: list[bool]
):
    store: Any = Store(sent_count, pending_count)
    watch = await Watch.start(store, meta_only=False)
    assert [watch.completed_by(each) for each in entries] == expected
