"""Whose tasks a node takes: some nodes are reserved for tenants, and some tenants are confined to nodes with certain labels.

    label `tenant=NAME` of a node    only that tenant's tasks are sent there; several of them: those of any of these
    `labels` of a tenant             its tasks are sent only to nodes that have all of these

Both are worked out once for each node, when its labels or the tenants change (`NodeAdmission`), so that a placement asks no more than whether an owner is
in a set. What is there already stays where it is: labels say where tasks are sent, as a lock does.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import reserved_for
from clusterodm.libs.common.model.values import NOBODY, NodeId, Owner


class NodeAdmission(NamedTuple):
    """Whose tasks a node takes."""

    reserved_for: frozenset[Owner] = frozenset()
    """Only theirs; empty: anybody's."""
    closed_to: frozenset[Owner] = frozenset()
    """Not theirs: they are confined to labels that it has not."""

    @property
    def restricts(self) -> bool:
        """Whether there is anybody whose tasks it does not take."""
        return bool(self.reserved_for or self.closed_to)

    def admits(self, owner: Owner) -> bool:
        """Whether it takes an owner's tasks."""
        return (not self.reserved_for or owner in self.reserved_for) and owner not in self.closed_to


ANYBODY: Final = NodeAdmission()


class Admissions:
    """What is known of tenants as far as nodes are concerned, and who is not like everybody else."""

    def __init__(self) -> None:
        self.apart: frozenset[Owner] = frozenset()
        """Owners for whom a node is reserved or who are confined: only their tasks may fit other nodes than anybody's."""
        self._owners: dict[str, Owner] = {}
        """What tasks are marked with, by the names of tenants."""
        self._confined: dict[Owner, frozenset[str]] = {}
        self._of_nodes: dict[NodeId, frozenset[Owner]] = {}
        """For whom each node is reserved."""
        self._reserved: Counter[Owner] = Counter()

    def set_tenants(self, shares: Iterable[TenantShare]) -> bool:
        """Take in what tenants are called and what they are confined to; whether anything changed."""
        before = dict(self._owners), dict(self._confined)
        for share in shares:
            if share.name:
                self._owners[share.name] = share.owner
            self._confined.pop(share.owner, None)
            if share.labels:
                self._confined[share.owner] = frozenset(share.labels)
        changed = before != (self._owners, self._confined)
        if changed:
            self._find_apart()
        return changed

    def admission_of(self, labels: Collection[str]) -> NodeAdmission:
        """Say whose tasks a node with such labels takes."""
        named = reserved_for(labels)
        if not named and not self._confined:
            return ANYBODY
        kept_for = frozenset(self._owners.get(name, Owner(name)) for name in named)
        has = frozenset(labels)
        return NodeAdmission(
            kept_for, frozenset(owner for owner, needed in self._confined.items() if not needed <= has)
        )

    def note(self, node: NodeId, admission: NodeAdmission) -> None:
        """Note for whom a node is reserved."""
        before = self._of_nodes.pop(node, frozenset())
        if admission.reserved_for:
            self._of_nodes[node] = admission.reserved_for
        if before != admission.reserved_for:
            self._reserved.subtract(before)
            self._reserved.update(admission.reserved_for)
            self._find_apart()

    def labels_of(self, owner: Owner) -> frozenset[str]:
        """Say what an owner is confined to."""
        return self._confined.get(owner, frozenset())

    def kept_apart(self, owner: Owner) -> Owner:
        """Say whose a task is as far as nodes are concerned: nobody's where its owner is like everybody else."""
        return owner if owner in self.apart else NOBODY

    def _find_apart(self) -> None:
        self._reserved = +self._reserved
        self.apart = frozenset((*self._reserved, *self._confined))
