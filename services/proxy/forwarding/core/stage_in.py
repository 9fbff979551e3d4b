"""What of an upload goes to a node before its commit, and when that ends. Pure.

A complete file never changes and keeps its name, so it may go as soon as it is complete. What may still change is said by
`why_end`: the fields of the task (init again), and whether anybody goes on with the upload. What came of it is checked once
more when the task is to be placed (`why_afresh`): an attempt goes on with it only when the node would in the end have exactly
what it would have got otherwise.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from clusterodm.services.proxy.spool.core.upload import is_image

IDLE_S: Final = 120.0
"""An open upload to which nothing comes for so long holds no room on a node."""
UNDECIDED_S: Final = 600.0
"""A commit whose task has not been placed for so long: no scheduler may be there to say that it exists."""
TRIES_COUNT: Final = 3
"""After so many beginnings an upload is left alone until its commit: each sends everything again."""


@dataclass
class PendingFiles:
    """The files of an upload that are complete, and those of them that nobody has taken to the node yet."""

    sizes: dict[str, int] = field(default_factory=dict)
    """In bytes, by name."""
    images_count: int = 0
    left: deque[str] = field(default_factory=deque)

    def add(self, files: Iterable[tuple[str, int]]) -> None:
        """Add files. One that is there already (its twin came) stays one."""
        for name, size_bytes in files:
            if name not in self.sizes:
                self.sizes[name] = size_bytes
                self.images_count += is_image(name)
                self.left.append(name)

    def take(self) -> str | None:
        """Take the next one to be sent."""
        return self.left.popleft() if self.left else None

    def put_back(self) -> None:
        """Begin with all of them again, for another node."""
        self.left = deque(self.sizes)


@dataclass(frozen=True, kw_only=True)
class StagedUpload:
    """How an upload is whose files go ahead."""

    exists: bool = True
    same_fields: bool = True
    """Its init is still the one that the node was told."""
    committed: bool = False
    receiving: bool = False
    idle_s: float = 0.0
    """Since something last came."""


def why_end(seen: StagedUpload) -> str:
    """Say why nothing more should be sent ahead; empty: go on."""
    if not seen.exists:
        return "the upload is gone"
    if not seen.same_fields:
        return "the task was begun again with other fields"
    if seen.committed:
        return "it has not been placed for too long" if seen.idle_s > UNDECIDED_S else ""
    if seen.idle_s > IDLE_S and not seen.receiving:
        return "nothing comes any more"
    return ""


def why_afresh(*, same_fields: bool, sent: Mapping[str, int], files: Mapping[str, int]) -> str:
    """Say why an attempt cannot go on with what was sent ahead; empty: it can."""
    if not same_fields:
        return "the task was begun again with other fields"
    return "" if sent.items() <= files.items() else "files were sent ahead that are not in the dataset"
