"""What a node's words say about whether another node would have said the same. Pure.

A node refuses a task before it processes anything: in the answer to `init` or `commit`, or, where NodeODM finds out only
while it unpacks and counts, as the error of a task that has failed. Most such words are about the task, and every node would say
them. Those here are about the node: it takes fewer images, its disk is full, its engine is another. Then the attempt is over, and the
task is not: it goes to a node for which the reason does not hold (core/placement.py), and does not fail while there is one, or may be.

Not here: "Not enough memory" is said after hours of work, by nodes with enough of it too when another task had it; it is an
attempt that counts (core/tasks.py).
"""

import re
from dataclasses import dataclass
from typing import Final

TOO_MANY: Final = re.compile(r"(\d{1,9}) images uploaded, but this node can only process up to \d+\.?")
"""NodeODM's libs/taskNew.js; it counts everything beside the images too, the archive that it has unpacked included."""
FULL_DISK: Final = re.compile(
    r"ENOSPC|EDQUOT|no space left on device|disk quota exceeded|unzip exited with code 50\b", re.IGNORECASE
)
"""Node.js, the engine's tools, and unzip(1)."""
OTHER_OPTIONS: Final = re.compile(r'\A\s*\[\s*\{\s*"name"\s*:.*"error"\s*:', re.DOTALL)
"""What NodeODM says of options: a JSON array as text. We have checked them with the cluster's list, so this node has another."""
OTHER_ENGINE: Final = re.compile(
    r"\b(engine|version|gpu|cuda)\b.{0,80}\b(not supported|unsupported|not available|too old|required)\b"
    r"|\b(unsupported|requires?|needs)\b.{0,80}\b(engine|version|gpu|cuda)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """A refusal that another node might not give."""

    least_limit_count: int = 0
    """So many images it must take; 0: that is not what it was about."""


def refusal_in(words: str) -> Refusal | None:
    """Read it out of a node's words; None: every node would say so."""
    if too_many := TOO_MANY.search(words):
        return Refusal(int(too_many[1]))
    if any(pattern.search(words) for pattern in (FULL_DISK, OTHER_OPTIONS, OTHER_ENGINE)):
        return Refusal()
    return None
