"""What nodes say of tasks: asked for now, or told again when they have just said it and nothing has changed since (handlers/fresh.py)."""

from functools import partial
from typing import Any

from libs.common.clocks import Clock
from libs.common.messages import TaskRecord
from libs.common.model import Attempt, Node, Task
from services.proxy.core.freshness import NodeAnswer
from services.proxy.core.polls import attempt_on_node, node_info
from services.proxy.handlers.confirming import Confirmer
from services.proxy.handlers.fresh import FreshAnswers
from services.proxy.handlers.inquiry import Inquiry
from services.proxy.ports import Cluster


class NodeAnswers:
    """Gets the words of nodes."""

    def __init__(self, cluster: Cluster, inquiry: Inquiry, confirmer: Confirmer, clock: Clock) -> None:
        self._cluster = cluster
        self._inquiry = inquiry
        self._confirmer = confirmer
        self._clock = clock
        self.fresh = FreshAnswers(clock, inquiry.fresh_s)
        """Whoever tells what is in there has the record confirmed before."""

    def __repr__(self) -> str:
        """Show what is kept."""
        return f"NodeAnswers({self.fresh!r})"

    async def of_running(self, record: TaskRecord, line: int | None, *, output: bool) -> NodeAnswer | None:
        """Hear what a node says: what it has just said, when nothing has changed since, or what it says now."""
        answer = self.fresh.find_with(record, line, output=output)
        if answer is not None and await self._confirmer.promptly(record) and self.fresh.holds(answer):
            return answer
        joined, answer = await self.fresh.join(record, line, output=output)
        if joined and (answer is None or await self._confirmer.promptly(record)):
            return answer
        ask = self.ask_for_output if output else self.ask_for_info
        return await self.fresh.ask(record, line, partial(ask, record), output=output)

    async def ask_for_info(self, record: TaskRecord, line: int | None) -> NodeAnswer | None:
        """Ask a node how a task stands, with its console from a line on; None: it has nothing to say of it."""
        asked = self._clock.instant()
        said = await self._ask_node(record.task, "info", {} if line is None else {"with_output": str(line)})
        if not isinstance(said, dict) or node_info(record.task, said) is None:
            return None
        return NodeAnswer(record, asked, {**said, "output": None}, line, strings(said.get("output")))

    async def ask_for_output(self, record: TaskRecord, line: int | None) -> NodeAnswer | None:
        """Ask a node for a task's console from a line on."""
        asked = self._clock.instant()
        said = await self._ask_node(record.task, "output", {"line": str(line or 0)})
        return NodeAnswer(record, asked, None, line, strings(said)) if isinstance(said, list) else None

    async def _ask_node(self, task: Task, what: str, query: dict[str, str]) -> Any:
        """Get a task's JSON from its node; None when there is none to be had."""
        found = self._where(task)
        if found is None:
            return None
        node, attempt = found
        return await self._inquiry.json(node, f"/task/{attempt.node_task_id}/{what}".encode(), query)

    def _where(self, task: Task) -> tuple[Node, Attempt] | None:
        attempt = attempt_on_node(task)
        node = self._cluster.node(attempt.node) if attempt else None
        return (node, attempt) if node and attempt else None


def strings(value: Any) -> list[str]:
    """Take the console lines out of a node's answer."""
    return [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
