"""What a message is: the kinds, and what any request may be answered with.

Request       asked of one owner, answered once            clusterodm.<owner>.<verb_noun>
Event         told to whoever listens, kept in EVENTS      clusterodm.event.<noun>.<past>
Announcement  told to whoever listens, kept nowhere        clusterodm.announcement.<noun>.<past>
Snapshot      the whole of a changing fact, last one wins  clusterodm.<noun>.<past>
"""

from typing import Final, Generic, TypeVar

from clusterodm.libs.common.model.values import Frozen

Payload = TypeVar("Payload")
Reply = TypeVar("Reply")
Value = TypeVar("Value")
PREFIX: Final = "clusterodm"


class Request(Frozen, Generic[Payload, Reply], frozen=True):
    """A question to the one service that owns the answer."""

    name: str
    """`owner.verb_noun`"""
    payload: type[Payload]
    reply: type[Reply]
    """The type of the answer, or a union of tagged Structs."""
    timeout_s: float = 5.0
    """How long the caller waits before it takes the owner for absent."""
    idempotent: bool = False
    """Asked twice it does what it does once, and is answered the same: it may be sent again to the next leader of its owner."""
    for_programs: bool = False
    """Programs of others may ask it, too (the user `integration` of NATS), as often as they like: such requests have a connection of their own."""

    @property
    def subject(self) -> str:
        """Where it is sent."""
        return f"{PREFIX}.{self.name}"

    @property
    def owner(self) -> str:
        """The service that answers."""
        return self.name.partition(".")[0]


class LongPoll(Request[Payload, Reply], frozen=True):
    """A question that stays open until there is something to say: those that are open take nobody's turn."""


class Event(Frozen, Generic[Payload], frozen=True):
    """Something that has happened."""

    name: str
    payload: type[Payload]

    @property
    def subject(self) -> str:
        """Where it is told."""
        return f"{PREFIX}.event.{self.name}"


class Announcement(Event[Payload], frozen=True):
    """Told to whoever listens at that moment, and kept nowhere: what a process says of itself every few seconds, and hints, which anybody may cause as often as they like."""

    @property
    def subject(self) -> str:
        """Where it is told: outside of what the stream of events keeps."""
        return f"{PREFIX}.announcement.{self.name}"


class Snapshot(Frozen, Generic[Payload], frozen=True):
    """The whole of a fact that changes; kept in a stream of its own that holds the last value only."""

    name: str
    payload: type[Payload]
    stream: str

    @property
    def subject(self) -> str:
        """Where it is told."""
        return f"{PREFIX}.{self.name}"

    @property
    def kept(self) -> str:
        """What its stream keeps. With a wildcard: a consumer of another stream delivers only to who listens to just its subject."""
        return f"{PREFIX}.{self.name.rpartition('.')[0]}.*"


class BucketName(Frozen, Generic[Value], frozen=True):
    """A key-value store: keys to values of one type."""

    name: str
    value: type[Value]
    writer: str
    """The only service that writes it."""
    durable: bool = True
    """A write is on disk before it is answered; otherwise soon afterwards, at a tenth of the price (one server of NATS only). What is not
    durable may be lost: it is made anew when NATS cannot keep it as the settings say, or its only server is gone."""
    expires_s: float = 0.0
    """After so long a key that is not written again goes by itself; 0: it stays."""


class ObjectsName(Frozen, frozen=True):
    """A store of things that are too large for a bucket: keys to bytes, each deleted some time after it was written."""

    name: str
    writer: str
    """The only service that writes it."""


EVENTS_STREAM: Final = "EVENTS"
EVENTS_SUBJECTS: Final = f"{PREFIX}.event.>"


class Done(Frozen, frozen=True, kw_only=True):
    """It is done; there is nothing more to say."""
