"""What forwarding needs of the world: the way to the nodes, for what is sent; and somebody who finishes tasks that have ended."""

from pathlib import Path
from typing import Protocol

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.services.proxy.forwarding.core.decisions import ImagesCount
from clusterodm.services.proxy.spool.core.upload import Draft


class Sender(Protocol):
    """The way to a node: the calls of one attempt.

    Every call raises NodeUnreachable (nothing of the body went out, so nothing has happened), NodeRefused (the node answered and
    said no), NodeErred (it answered with an error that may pass) or NodeFailed (anything else: the outcome is unknown).
    """

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new/init` with `set-uuid`."""

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        """`POST /task/new/upload/<id>` with exactly one file."""

    async def commit(self, node: Node, attempt: NodeTaskId, by: Instant | None = None) -> None:
        """`POST /task/new/commit/<id>`. Later than `by` (monotonic clock) no byte goes out: NodeUnreachable."""

    async def discard(self, node: Node, attempt: NodeTaskId) -> None:
        """Remove what was sent and never committed; nothing happens to what was committed."""

    async def count_images(self, node: Node, attempt: NodeTaskId) -> ImagesCount:
        """`GET /task/<id>/info`: how many images the node counts; NodeRefused when it knows no such task."""

    async def remove(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/remove`; NodeRefused when it knows no such task."""

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by: Instant | None = None) -> None:
        """`POST /task/new` with `zipurl`: begin and commit at once; `by` as with `commit`."""


class TaskEnd(Protocol):
    """What is done when a task has ended, or begins again."""

    async def finish(self, task: TaskId) -> float | None:
        """Tell the client, delete the inputs. Raises BusFailed.

        How long they are still kept, in seconds; 0: everything is gone; None: the task has not ended after all.
        """

    async def drop(self, task: TaskId) -> None:
        """Delete all of a task of which a record or a tombstone says that it was removed, and no node has still to be told of it."""

    async def keep_notes(self, task: TaskId) -> None:
        """Delete the inputs of a task that was removed, and note that; what is noted of its attempts stays."""

    async def begun_again(self, task: TaskId) -> None:
        """Remember that a task that had ended runs again."""


class KeptInputs(Protocol):
    """The inputs of committed tasks."""

    async def give_up(self, task: TaskId, reason: str) -> bool:
        """Delete the inputs of a task with the scheduler's consent; whether they are gone."""
