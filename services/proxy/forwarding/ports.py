"""What forwarding needs of the world: the way to the nodes, for what is sent."""

from pathlib import Path
from typing import Protocol

from libs.common.clocks import Instant
from libs.common.model import Node, NodeTaskId
from services.proxy.forwarding.core.decisions import ImagesCount
from services.proxy.spool.core.upload import Draft


class Sender(Protocol):
    """The way to a node: the calls of one attempt.

    Every call raises NodeUnreachable (nothing of the body went out, so nothing has happened), NodeRefused (the node answered and
    said no), NodeErred (it answered with an error that may pass) or NodeFailed (anything else: the outcome is unknown).
    """

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new/init` with `set-uuid`."""
        ...

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        """`POST /task/new/upload/<id>` with exactly one file."""
        ...

    async def commit(self, node: Node, attempt: NodeTaskId, by: Instant | None = None) -> None:
        """`POST /task/new/commit/<id>`. Later than `by` (monotonic clock) no byte goes out: NodeUnreachable."""
        ...

    async def discard(self, node: Node, attempt: NodeTaskId) -> None:
        """Remove what was sent and never committed; nothing happens to what was committed."""
        ...

    async def count_images(self, node: Node, attempt: NodeTaskId) -> ImagesCount:
        """`GET /task/<id>/info`: how many images the node counts; NodeRefused when it knows no such task."""
        ...

    async def remove(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/remove`; NodeRefused when it knows no such task."""
        ...

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by: Instant | None = None) -> None:
        """`POST /task/new` with `zipurl`: begin and commit at once; `by` as with `commit`."""
        ...
