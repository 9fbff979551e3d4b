"""Nodes: what is registered, and what they say of themselves.

Figures that nodes say of tasks are made such that clients and records can hold them: a node may say anything.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.model.values import Frozen, MachineId, NodeId

LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.=/-]{0,61}[A-Za-z0-9])?")
"""Of a node: what an operator calls it, without spaces, so that lines with labels can be split."""
LABELS_COUNT: Final = 50
RESERVED: Final = "tenant="
"""A label that begins so reserves its node for a tenant, by its name or its owner; several of them: for these."""
MOST_IMAGES_COUNT: Final = 2**31 - 1
"""More than any task has, and what clients count with."""
LONGEST_MS: Final = 2**53 - 1
"""What JavaScript counts with."""


def labels_of(said: str | Iterable[str]) -> tuple[str, ...]:
    """Read labels, each once: a list, or a text with commas or white space between them."""
    return tuple(dict.fromkeys(said.replace(",", " ").split() if isinstance(said, str) else said))


def mistake_in_labels(labels: Collection[str]) -> str:
    """Say what is wrong with labels; empty: nothing."""
    if len(labels) > LABELS_COUNT:
        return f"there are at most {LABELS_COUNT} labels"
    wrong = next((label for label in labels if not LABEL.fullmatch(label)), None)
    if wrong is None:
        return ""
    return f"{wrong[:80]!a} is no label: 1 to 63 letters and digits, and . _ = / - between them"


def reserved_for(labels: Iterable[str]) -> frozenset[str]:
    """Name the tenants for whom labels reserve a node; none: it is anybody's."""
    return frozenset(label.removeprefix(RESERVED) for label in labels if label.startswith(RESERVED))


def objection(labels: Collection[str], tenant: str, confined_to: Collection[str]) -> str:
    """Say why a tenant's tasks may not go where these labels are; empty: they may. `confined_to`: labels that must be there."""
    if not labels and not confined_to:
        return ""
    if missing := sorted(set(confined_to) - set(labels)):
        return f"no label{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
    kept = reserved_for(labels)
    return f"reserved for {' and '.join(sorted(kept))}" if kept and tenant not in kept else ""


GPU_LABEL: Final = "gpu"
"""A node with this label has a graphics card: tasks that ask for one are sent there and nowhere else."""


class Node(Frozen, frozen=True, kw_only=True):
    """A NodeODM server as registered. Liveness is not here: only the scheduler's memory knows that."""

    id: NodeId
    hostname: str
    port: int
    token: str = ""
    locked: bool = False
    draining: bool = False
    labels: tuple[str, ...] = ()
    machine: MachineId | None = None
    price_per_hour: float | None = None
    """What that costs, where its configuration says so."""
    spot: bool = False
    """Its machine may be taken away at any time."""
    interruptions_limit_count: int = 0
    """A task that has lost so many spot machines is not sent there; 0: any may be."""
    added_at_ms: int = 0
    drain_until_ms: int | None = None
    """When tasks that still wait on a draining node are moved; None: they are left to it."""
    drain_s: float = 0.0
    """How long that was when it was asked for: no clock that has moved since makes it longer."""
    retired: bool = False
    """Removed by an operator; the record stays as long as tasks on it need to be reached. It is in no list."""
    lock_reason: str = ""
    """Why the autoscaler has locked it for good: its machine takes no more tasks, and nobody unlocks it. Empty: anybody may."""

    @property
    def has_gpu(self) -> bool:
        """Whether there is a graphics card, as far as its labels say."""
        return GPU_LABEL in self.labels

    @property
    def url(self) -> str:
        """The root of its API, without token."""
        return f"{'https' if self.port == 443 else 'http'}://{shown(self.hostname, self.port)}"  # noqa: PLR2004 the TLS port; CLIENTS.md

    @property
    def name(self) -> str:
        """How operators and logs call it."""
        return shown(self.hostname, self.port)

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"Node({self.name}{' locked' if self.locked else ''}{' token' if self.token else ''})"


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What `GET /info` of a node says (NodeODM API 2.2, docs/index.adoc of NodeODM)."""

    version: str = "?"
    task_queue_count: int = 0
    max_images: int | None = None
    max_parallel_tasks: int = 1
    total_memory: int | None = None
    available_memory: int | None = None
    cpu_cores: int | None = None
    engine: str = "?"
    engine_version: str = "?"


class NodeOption(msgspec.Struct, frozen=True):
    """One entry of `GET /options`: exactly these five keys (PyODM passes them on as keyword arguments)."""

    name: str
    type: str
    value: str
    domain: str | list[str]
    help: str


class OptionValue(msgspec.Struct, frozen=True):
    """One option of a task as it was chosen, its value converted to the option's type."""

    name: str
    value: str | int | float | bool | None = None


class ReferenceOptions(Frozen, frozen=True, kw_only=True):
    """The option list that the cluster last saw on a node; kept when all nodes are gone."""

    options: tuple[NodeOption, ...] = ()
    seen_at_ms: int = 0


def percent(value: Any) -> float:
    """Make a node's `progress` a number within 0..100; what is no number: 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0, min(100, value)) if is_number else 0


def whole_count(value: Any) -> int | None:
    """Read how many images a node says; None: that is no number of images."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= MOST_IMAGES_COUNT else None


def whole_ms(value: Any) -> int:
    """Make a node's `processingTime`, in ms, the integer that clients need; one that no clock says, or no number: -1."""
    return int(value) if isinstance(value, int | float) and -1 <= value <= LONGEST_MS else -1
