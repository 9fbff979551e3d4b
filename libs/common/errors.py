"""Errors by blame: who has to act decides the class.

    ClusterError
    ├── Refused         the client: the request cannot be granted; the message is safe to show to it
    │   └── NotFound    ... because what it names is not known (or belongs to another token)
    │       └── Removed ... because it was removed: a record or a tombstone says so
    ├── NoNode          nobody can now: no node is able to take it at present
    ├── NodeFailed      a node did not answer, or answered nonsense
    │   └── NodeUnreachable   ... and not one byte of the request can have reached it
    ├── ProviderFailed  the cloud said no; its `trouble` says what that means for the next try
    ├── BusFailed       NATS, or the service behind it, did not answer in time: try again
    │   ├── BusDenied   ... or NATS does not let us in, or has given our user too few rights: an operator has to act
    │   └── Unreadable  ... or there is a record, written by a later version, that this one cannot read: it is there
    └── Conflict        the record has changed since it was read: read again, decide again

What may cross the bus has a name there (`ERROR_NAMES`), so that the caller meets the class that the handler raised.
"""

from enum import StrEnum
from typing import Final


class ClusterError(Exception):
    """Root of what this project raises on purpose."""

    def __init__(self, message: str) -> None:
        """Keep the sentence that says what is wrong."""
        super().__init__(message)
        self.message = message


class Refused(ClusterError):
    """The request cannot be granted. The message is shown to whoever asked."""


class NotFound(Refused):
    """What the request names is not known for this client. That is no decision: a store may have been lost."""


class Removed(NotFound):
    """What the request names was removed, and a record or a tombstone says so: what is left of it may go."""


class NoNode(ClusterError):
    """No node can do this at present."""


class NodeFailed(ClusterError):
    """A node did not answer in time, or not with what the NodeODM API promises."""


class NodeUnreachable(NodeFailed):
    """No connection to the node came about: it has not seen the request."""


class Trouble(StrEnum):
    """What a provider's failure means for the next try."""

    RETRYABLE = "retryable"
    """Nothing has happened, and the same call may work in a while (rate limit, 5xx, no connection)."""
    OUT_OF_CAPACITY = "out-of-capacity"
    """Nothing has happened: this size is not to be had in this region now, or a quota is reached. Another offer may do."""
    UNAUTHORISED = "unauthorised"
    """The keys are wrong or lack a permission: nothing will work until somebody acts."""
    REFUSED = "refused"
    """The call itself is wrong (no such size, image or region): it fails again until the configuration changes."""
    UNKNOWN_OUTCOME = "unknown-outcome"
    """The call was sent and its answer not seen: it may have been carried out."""

    @classmethod
    def unanswered(cls, *, creates: bool) -> "Trouble":
        """Say what a call means that was sent and had no answer: reading and destroying can simply be done again."""
        return cls.UNKNOWN_OUTCOME if creates else cls.RETRYABLE


class ProviderFailed(ClusterError):
    """A cloud provider refused or failed. The message holds no key and no token."""

    def __init__(
        self, message: str, trouble: Trouble = Trouble.RETRYABLE, *, leaves: bool = False, ref: str = ""
    ) -> None:
        """Keep the sentence, what it means, and of a creation whether it may have left something all the same.

        `ref`: the provider's id of what a creation has left for certain, or a removal has met.
        """
        super().__init__(message)
        self.trouble = trouble
        self.leaves = leaves or bool(ref) or trouble is Trouble.UNKNOWN_OUTCOME
        self.ref = ref


class BusFailed(ClusterError):
    """The bus, or the service asked over it, gave no answer in time."""


class OutcomeUnknown(BusFailed):
    """What was asked for was sent, and not answered: it may have been done, or be done yet."""


class BusDenied(BusFailed):
    """NATS refuses our user, its password, or what it has to do."""


class Unreadable(BusFailed):
    """There is a value under this key, and this version cannot read it. It is not absent, and nothing follows from it."""


class Conflict(ClusterError):
    """Compare-and-set lost: the record is no longer at the revision that was read."""


ERROR_NAMES: Final[dict[str, type[ClusterError]]] = {
    "refused": Refused,
    "not-found": NotFound,
    "removed": Removed,
    "no-node": NoNode,
    "node-failed": NodeFailed,
    "node-unreachable": NodeUnreachable,
    "provider-failed": ProviderFailed,
    "unreadable": Unreadable,
    "bus-failed": BusFailed,
    "conflict": Conflict,
}
"""How an error is called on the wire."""


def error_name(error: ClusterError) -> str:
    """Say the wire name of an error: its own, or that of the nearest class above it that has one."""
    names = {kind: name for name, kind in ERROR_NAMES.items()}
    return next(names[kind] for kind in type(error).__mro__ if kind in names)
