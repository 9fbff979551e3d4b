"""What makes machines ours: the ids in their names, and the keys of which their secrets are derived.

They lie in NATS and in a directory of the autoscaler's own, so that the loss of either costs nothing: what one has the other
learns. Where both are lost, nodes and tasks still name the machines that they are on, and so the ids. An id is never forgotten. A machine of any id that was ever ours is compared, and taken into use or destroyed.

The id in use is the store's, since its records bear it; a store that is new gets the directory's.
"""

from collections.abc import Iterable, Sequence

from libs.common.model import Frozen, IncarnationId


class Identity(Frozen, frozen=True, kw_only=True):
    """One id that machines bear."""

    cluster_id: str
    key: str
    """Hexadecimal; empty: it was lost. Such a machine can be used as long as its node is registered, else only be destroyed."""

    def __repr__(self) -> str:
        """Show no key."""
        return f"Identity({self.cluster_id})"


class Identities(Frozen, frozen=True, kw_only=True):
    """All of them, the one in use first."""

    known: tuple[Identity, ...]
    incarnations: tuple[IncarnationId, ...] = ()
    """The stores that it was used with (libs/common/incarnation.py), the latest last."""

    @property
    def current(self) -> Identity:
        """The one in use."""
        return self.known[0]

    @property
    def cluster_ids(self) -> tuple[str, ...]:
        """All ids that were ever ours."""
        return tuple(each.cluster_id for each in self.known)


def merged(in_use: Identities, other: Identities) -> Identities:
    """Add what another place knows; the one in use stays, and what is known of an id is not unlearned."""
    found = {each.cluster_id: each for each in in_use.known}
    for each in other.known:
        found[each.cluster_id] = completed(found.get(each.cluster_id, each), each)
    return Identities(known=tuple(found.values()), incarnations=in_use.incarnations)


def with_ids(known: Identities, cluster_ids: Iterable[str]) -> Identities:
    """Add ids of which nothing but their machines' names is left: their keys are lost."""
    unknown = sorted({*cluster_ids} - {*known.cluster_ids})
    more = (Identity(cluster_id=each, key="") for each in unknown)
    return Identities(known=(*known.known, *more), incarnations=known.incarnations)


def completed(known: Identity, other: Identity) -> Identity:
    """Fill in what is not known of an id."""
    return Identity(cluster_id=known.cluster_id, key=known.key or other.key)


def noted(before: Sequence[IncarnationId], present: IncarnationId | None) -> tuple[IncarnationId, ...]:
    """Put the present incarnation last, each once; None: it is not known yet."""
    if present is None:
        return tuple(before)
    return (*(each for each in before if each != present), present)
