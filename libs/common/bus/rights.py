"""Rights on NATS that this process was refused: which, and until when it counts as lacking them.

NATS answers nobody whom it refuses: it tells the connection, by a line of its own, and whoever asked runs into a time limit. So what was
refused is kept here, by its kind (a bucket, not a key): for `refused_since` of loops, for the log, and for `/readyz`.

What counts is a subject of ours. Where an answer goes to is named by whoever asked, so that a refusal there says nothing of this service.
A right to publish is there again when NATS hands on a request to the same kind of subject, or was not refused for ten minutes. A right to
subscribe is asked for once: it is lacking until it is asked for again, by this process or by a new connection.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusDenied, BusFailed
from clusterodm.libs.common.messages.health import RightRefused
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import beat, missed

TOLD_EVERY_S: Final = 60.0
"""So often it is told at most that a right was refused: what needs it is tried again and again."""
LACKING_FOR_S: Final = 600.0
"""Longer than an alert waits; what clients seldom need is refused seldom."""
MOST_RIGHTS_COUNT: Final = 64
"""There are not so many kinds."""
CLOSED: Final = (ConnectionResetError, BrokenPipeError, nats.errors.UnexpectedEOF)
AUTHORIZATION: Final = "authorization violation"
PERMISSIONS: Final = "permissions violation"
REFUSED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)
ADVICE: Final = "add it to what the user of this service may do in the configuration of NATS, and reload that"
PUBLISH: Final = "publish to"
SUBSCRIBE: Final = "subscribe to"
WORDS_OF_API: Final = frozenset(
    [
        "ACK",
        "API",
        "CONSUMER",
        "CREATE",
        "DELETE",
        "DIRECT",
        "DURABLE",
        "FC",
        "GET",
        "INFO",
        "LIST",
        "MSG",
        "NAMES",
        "NEXT",
        "PURGE",
        "STREAM",
        "UPDATE",
    ]
)
STORES: Final = re.compile(r"(KV|OBJ)_(.+)", re.IGNORECASE)


def kind_of(subject: str) -> str:
    """Name the subjects that are allowed together, as NATS' configuration does; nats-py tells refused ones in small letters. Empty: it is none of ours."""
    first, *rest = subject.split(".")
    match first.upper():
        case "$JS":
            return of_api(rest)
        case "$KV" | "$O" | "_INBOX" as upper if rest:
            return f"{upper}.{rest[0]}.>"
        case "$SRV":
            return "$SRV.>"
        case "CLUSTERODM" if rest:
            return subject
    return ""


def of_api(tokens: list[str]) -> str:
    """Name the subjects of JetStream's interface for one act and one stream."""
    said = ["$JS"]
    for token in tokens:
        said.append(token.upper())
        if token.upper() not in WORDS_OF_API:
            store = STORES.fullmatch(token)
            said[-1] = f"{store[1].upper()}_{store[2]}" if store else token.upper()
            break
    return ".".join([*said, *([">"] if len(tokens) >= len(said) else [])])


def right_in(said: str) -> str:
    """Read the right out of what NATS says of a refusal; empty: it is none of ours."""
    found = REFUSED.search(said)
    if not found:
        return ""
    publishes, kind = found[1].lower() == "publish", kind_of(found[2])
    if not kind or (publishes and kind.startswith("_INBOX.")):
        return ""
    return f"{PUBLISH if publishes else SUBSCRIBE} {kind}"


class NatsDenials:
    """What NATS has refused to one connection: our user or password, or a subject that the user has no right to."""

    def __init__(self, now: Callable[[], Instant] = monotonic_s) -> None:
        self.now = now
        self._login = False
        self._right = ""
        self._right_at: Instant | None = None
        self._lacking: dict[str, Instant] = {}
        """When each right was refused last."""
        self._told_at: dict[str, Instant] = {}

    def __repr__(self) -> str:
        """Show what was refused."""
        return f"NatsDenials({self.reason!r})"

    @property
    def reason(self) -> str:
        """Say what was refused; empty: nothing, as far as NATS told."""
        if self._login:
            return "it refuses the user or the password"
        return f"its user has not the rights that are needed ({self._right})" if self._right else ""

    @property
    def told(self) -> str:
        """Say it behind something else; empty: nothing was refused."""
        return f": {self.reason}" if self.reason else ""

    def since(self, since: Instant) -> str:
        """Say which right was refused last, if that was since then (monotonic); empty: none was."""
        return self._right if self._right_at is not None and self._right_at >= since else ""

    def failure(self, message: str) -> BusFailed:
        """Make the error for something that has not come about, with what was refused."""
        return BusDenied(f"{message}{self.told}") if self.reason else BusFailed(message)

    def heard(self, error: Exception) -> str:
        """Take note of what the server says of us; the right that it refuses, where that was not told of lately. What it says last counts: it may have been out of reach meanwhile.

        A connection that breaks says nothing: a server closes it after a refusal, which that may even overtake.
        """
        if isinstance(error, CLOSED):
            return ""
        said = str(error).removeprefix("nats: ").strip("'")
        self._login = isinstance(error, nats.errors.AuthorizationError) or AUTHORIZATION in said.lower()
        if PERMISSIONS not in said.lower():
            return ""
        now = self.now()
        self._right, self._right_at = said, now
        if (right := right_in(said)) and (right in self._lacking or len(self._lacking) < MOST_RIGHTS_COUNT):
            self._lacking[right] = now
        told_at = self._told_at.get(right)
        if told_at is not None and now - told_at < TOLD_EVERY_S:
            return ""
        if right in self._told_at or len(self._told_at) < MOST_RIGHTS_COUNT:
            self._told_at[right] = now
        return said

    def refused(self, subject: str, since: Instant) -> str:
        """Name the right for want of which something that was published then has no answer (monotonic); empty: that is not known."""
        right = f"{PUBLISH} {kind_of(subject)}"
        return right if self._was_refused(right, since) else self._no_answers()

    def refused_of(self, stream: str, since: Instant) -> str:
        """Name a right to a stream that was refused since then (monotonic); empty: none was."""
        of_stream = (right for right in self._lacking if f".{stream}.".lower() in f"{right}.".lower())
        return next((right for right in of_stream if self._was_refused(right, since)), self._no_answers())

    def _was_refused(self, right: str, since: Instant) -> bool:
        return right in self._lacking and self._lacking[right] >= since

    def _no_answers(self) -> str:
        return next((right for right in self._lacking if right.startswith(f"{SUBSCRIBE} _INBOX.")), "")

    def granted(self, subject: str) -> None:
        """Take note that a request came through."""
        if self._lacking:
            self._lacking.pop(f"{PUBLISH} {kind_of(subject)}", None)

    def asked(self, subject: str) -> None:
        """Take note that a subject is subscribed: NATS says it again where it refuses that."""
        if self._lacking:
            self._lacking.pop(f"{SUBSCRIBE} {kind_of(subject)}", None)

    def disconnected(self) -> None:
        """Take note that the connection is lost: everything is subscribed anew."""
        self._lacking = {right: at for right, at in self._lacking.items() if not right.startswith(SUBSCRIBE)}

    def lacking(self) -> tuple[RightRefused, ...]:
        """Name the rights that are lacking at present."""
        ages = {right: self.now() - at for right, at in self._lacking.items()}
        return tuple(
            RightRefused(right=right, refused_age_s=round(age_s, 1), advice=ADVICE)
            for right, age_s in ages.items()
            if age_s < LACKING_FOR_S or right.startswith(SUBSCRIBE)
        )


class RightDenied(nats.errors.TimeoutError):
    """What NATS has refused: to whoever asked, a silence like any other."""

    def __init__(self, right: str) -> None:
        super().__init__(right)
        self.right = right

    def __str__(self) -> str:
        """Name the right."""
        return f"NATS has refused: {self.right}"


def failure_of(message: str, error: BaseException) -> BusFailed:
    """Make the error for something that NATS has not done, or has refused."""
    return BusDenied(message) if isinstance(error, RightDenied) else BusFailed(message)


class Following:
    """What a loop follows, whatever happens: that NATS refuses it is a failure of the loop all the same, and that it is away is none."""

    def __init__(self, denials: NatsDenials, stream: str) -> None:
        self._denials = denials
        self._stream = stream
        self._was_refused = False

    def __repr__(self) -> str:
        """Show what is followed."""
        return f"Following({self._stream}{' refused' if self._was_refused else ''})"

    def interrupted(self, since: Instant) -> float:
        """Note that it has not come about, tried since then (monotonic); the least pause before the next try, seconds. Raises LoopFailed."""
        right = self._denials.refused_of(self._stream, since)
        if not right:
            return 0.0
        self._was_refused = True
        return missed(BusDenied(f"{self._stream} cannot be followed: NATS has refused: {right}"))

    def begun(self) -> None:
        """Note that it has come about."""
        if self._was_refused:
            self._was_refused = False
            beat()


def denials_of(client: Client) -> NatsDenials:
    """Find what NATS has refused to a connection."""
    return client.denials if isinstance(client, OwnClient) else NatsDenials()


class OwnClient(Client):
    """A client of NATS that notes which rights it turns out to have."""

    def __init__(self, denials: NatsDenials) -> None:
        super().__init__()
        self.denials = denials

    async def request(self, subject: str, *args: Any, **named: Any) -> Msg:
        """Ask as clients do; an answer shows that NATS has handed the question on, and so does the word that nobody listens.

        Raises RightDenied, and what clients raise.
        """
        began = self.denials.now()
        try:
            answer = await super().request(subject, *args, **named)
        except nats.errors.NoRespondersError:
            self.denials.granted(subject)
            raise
        except nats.errors.TimeoutError:
            if right := self.denials.refused(subject, began):
                raise RightDenied(right) from None
            raise
        self.denials.granted(subject)
        return answer

    async def subscribe(self, subject: str, *args: Any, **named: Any) -> Subscription:
        """Listen as clients do."""
        self.denials.asked(subject)
        return await super().subscribe(subject, *args, **named)
