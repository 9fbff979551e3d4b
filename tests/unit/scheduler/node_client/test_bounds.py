"""What a node says of a task is bounded before anything is made of it: records, logs and polls carry it."""

from collections.abc import Sequence
from typing import cast

import pytest
import structlog

from clusterodm.libs.common.errors import NodeFailed, Refused
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.nodeodm.calls import ANOTHER, CallAnswer
from clusterodm.libs.common.nodeodm.client import SENTENCE_LENGTH, NodeClient, NodeTask, decode
from clusterodm.services.scheduler.node_client.adapters import NodeODMAdapter

NODE = Node(id=NodeId("n"), hostname="node-1", port=3000)
TASK = NodeTaskId("11111111-2222-4333-8444-555555555555")


class Saying:
    """A client of a node that says one thing."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def task_info(self, node: Node, task: NodeTaskId, *, from_line: int | None, timeout_s: float) -> NodeTask:
        del task, from_line, timeout_s
        return decode(CallAnswer(200, self._content), NodeTask, node, limit_bytes=1 << 26)


async def observed(said: str) -> tuple[str, str, Sequence[OptionValue]]:
    content = f'{{"uuid": "{TASK}", {said}}}'.encode()
    seen = await NodeODMAdapter(cast("NodeClient", Saying(content))).observe(NODE, TASK, 0, 1.0)
    assert seen is not None
    assert seen.code is StatusCode.FAILED
    return seen.error, seen.name, seen.options


@pytest.mark.parametrize("length", [SENTENCE_LENGTH, SENTENCE_LENGTH + 1, 3_000_000])
async def test_of_words_so_much_is_kept_as_people_read(length: int) -> None:
    error, name, _ = await observed(
        f'"name": "{"n" * length}", "status": {{"code": 30, "errorMessage": "{"A" * length}"}}'
    )
    assert (len(error), len(name)) == (SENTENCE_LENGTH, SENTENCE_LENGTH)
    assert error.endswith("A" if length == SENTENCE_LENGTH else "…")


@pytest.mark.parametrize(
    ("options", "kept_count"),
    [
        ('{"name": "dsm", "value": true}', 1),
        (", ".join(['{"name": "dsm", "value": true}'] * 1000), 1000),
        (", ".join(['{"name": "dsm", "value": true}'] * 1001), 0),
        (f'{{"name": "boundary", "value": "{"x" * 60_000}"}}', 1),
        (f'{{"name": "boundary", "value": "{"x" * 66_000}"}}', 0),
        (f'{{"name": "{"x" * 66_000}"}}', 0),
    ],
)
async def test_more_options_than_a_task_has_are_none(options: str, kept_count: int) -> None:
    assert len((await observed(f'"status": {{"code": 30}}, "options": [{options}]'))[2]) == kept_count


async def test_a_long_refusal_is_cut() -> None:
    content = f'{{"error": "{"B" * 60_000}"}}'.encode()
    with pytest.raises(Refused) as refused:
        await NodeODMAdapter(cast("NodeClient", Saying(content))).observe(NODE, TASK, None, 1.0)
    assert refused.value.message == "B" * (SENTENCE_LENGTH - 1) + "…"


async def test_an_answer_about_another_task_is_none_and_the_log_tells_of_it_once() -> None:
    adapter = NodeODMAdapter(cast("NodeClient", Saying(b'{"uuid": "another", "status": {"code": 40}}')))
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(NodeFailed, match="answered about another task"):
                await adapter.observe(NODE, TASK, None, 1.0)
    said = {"event": "node.answered_amiss", "node": NODE.id, "task": TASK, "reason": ANOTHER, "count": 1}
    assert lines == [{**said, "log_level": "warning"}]


@pytest.mark.parametrize(("date", "read_as"), [("5", 5), ("-5", 0), ("9" * 40, 0)])
async def test_a_date_that_no_clock_says_is_none(date: str, read_as: int) -> None:
    content = f'{{"uuid": "{TASK}", "dateCreated": {date}, "status": {{"code": 20}}}}'.encode()
    seen = await NodeODMAdapter(cast("NodeClient", Saying(content))).observe(NODE, TASK, None, 1.0)
    assert seen is not None
    assert seen.created_at_ms == read_as
