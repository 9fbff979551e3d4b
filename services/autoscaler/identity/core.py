"""What makes machines ours: the ids in their names, and the keys of which their secrets are derived.

A machine's name is its key everywhere: in the store, at the provider, in logs. The prefix holds the id of the cluster, so
that several clusters share an account and each destroys its own machines only. A machine's secrets are derived from the
cluster's key and its name: nothing has to be stored for them to survive a crash, and none is valid for another machine.

Ids and keys lie in NATS and in a directory of the autoscaler's own, so that the loss of either costs nothing: what one has the other
learns. Where both are lost, nodes and tasks still name the machines that they are on, and so the ids. An id is never forgotten. A
machine of any id that was ever ours is compared, and taken into use or destroyed. The id in use is the store's, since its records
bear it; a store that is new gets the directory's.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final

from clusterodm.libs.common.model.values import Frozen, IncarnationId, MachineId
from clusterodm.libs.common.secret import Secret

SUFFIX_LENGTH: Final = 8
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
SECRET_LENGTH: Final = 40
IMAGES_PLACE: Final = 2
NAME: Final = re.compile(r"clusterodm-([a-z0-9]+)-\d+-[a-z0-9]+")
NAMEABLE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""What can be the name of a machine: it is the key of its record, and of what is kept beside."""


def prefix(cluster_id: str) -> str:
    """Make what the names of this cluster's machines begin with."""
    return f"clusterodm-{cluster_id}-"


def machine_name(cluster_id: str, images_count: int, suffix: str) -> MachineId:
    """Name a machine for tasks of so many images. Lower case: it is a host name, too."""
    return MachineId(f"{prefix(cluster_id)}{images_count}-{suffix}")


def images_in(machine: MachineId) -> int:
    """Read from a name for how many images its machine was made; 0: it does not say."""
    words = machine.split("-")
    return int(words[IMAGES_PLACE]) if len(words) > IMAGES_PLACE and words[IMAGES_PLACE].isdigit() else 0


def cluster_id_in(machine: MachineId) -> str:
    """Read from a name which cluster's machine it is; empty: no machine of ours is called so."""
    found = NAME.fullmatch(machine)
    return found[1] if found else ""


def suffix_for(key: Secret, occasion: str) -> str:
    """Make the end of a name out of what the machine is for.

    Two autoscalers that for a moment both take themselves for the leader decide the same, so they make the same
    name, and only one of them can write its record: the machine is created once.
    """
    number = int.from_bytes(hmac.new(key.reveal().encode(), f"name:{occasion}".encode(), hashlib.sha256).digest())
    letters = []
    for _ in range(SUFFIX_LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)


def node_token(key: Secret, machine: MachineId) -> Secret:
    """Make the token that the machine's node demands."""
    return derived(key, "node", machine)


def webhook_secret(key: Secret, machine: MachineId) -> Secret:
    """Make the secret with which the machine's node reports a finished task."""
    return derived(key, "webhook", machine)


def derived(key: Secret, purpose: str, machine: MachineId) -> Secret:
    """Derive a secret; one of them tells nothing about another."""
    text = f"{purpose}:{machine}".encode()
    return Secret(hmac.new(key.reveal().encode(), text, hashlib.sha256).hexdigest()[:SECRET_LENGTH])


def digest(secret: Secret) -> str:
    """Make what may be stored of a secret: whoever is shown the secret can check it by this."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


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
    """The stores that it was used with (libs/common/bus/incarnation.py), the latest last."""

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
