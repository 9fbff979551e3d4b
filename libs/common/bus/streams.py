"""The streams behind events and snapshots: what they are called, how much they keep, how they come about.

A stream that exists is compared with the settings by whoever opens it, to read or to write (`conform`). How many replicas it gets is
in replicas.py. Events have a share of NATS' disk to
themselves, reserved when the stream is made, so that they never crowd out records; where the disk is small, the share is.
"""

from typing import Any, Final

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, try_timeout
from clusterodm.libs.common.bus.rights import failure_of
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM, EVENTS_SUBJECTS, Snapshot
from clusterodm.libs.common.process.lifecycle import cancellable

log = structlog.get_logger()

EXISTS_OTHERWISE: Final = 10058
"""NATS' code for a stream that somebody else has just created, with other settings."""
NO_SPACE: Final = 10047
"""NATS' code for a reservation that is larger than what a server may use of its disk; a cluster only says so in words."""
NO_SPACE_WORDS: Final = ("insufficient storage", "no space left", "disk quota exceeded")
NOT_MADE: Final = "the scheduler makes it"
"""Why a service other than that one does not find a stream."""
UNCHANGEABLE: Final = 10052
"""NATS' code for a change of what was settled when a stream was made."""
EVENTS_MAX_AGE_S: Final = 7 * 24 * 3600
EVENTS_MOST_BYTES: Final = 256 * 1024 * 1024
EVENTS_LEAST_BYTES: Final = 4 * 1024 * 1024


async def open_events(js: JetStreamContext, replicas: Replicas) -> None:
    """Make sure that the stream of events exists, as large as the disk of NATS allows.

    Raises BusFailed when even the least does not fit, and what nats-py raises when NATS is not there.
    """
    reserved_bytes = EVENTS_MOST_BYTES
    while True:
        try:
            return await add_stream(js, events_config(reserved_bytes), replicas)
        except nats.js.errors.APIError as error:
            if not has_no_space(error):
                raise
            if reserved_bytes <= EVENTS_LEAST_BYTES:
                raise BusFailed(
                    f"NATS has no {reserved_bytes >> 20} MB left for its records ({error.description}): free some of its"
                    " disk and restart it, or raise jetstream.max_file_store in its configuration"
                ) from None
            reserved_bytes //= 2
            log.info("events.room_limited", reserved_mb=reserved_bytes >> 20, reason=error.description)


async def open_snapshot(
    js: JetStreamContext, snapshot: Snapshot[Any], replicas: Replicas, *, makes: bool = True
) -> None:
    """See that the stream of a snapshot is there, or make it: it keeps the last value. Raises BusFailed, soon."""
    config = api.StreamConfig(name=snapshot.stream, subjects=[snapshot.kept], max_msgs_per_subject=1)
    try:
        async with try_timeout():
            await cancellable(add_stream(js, config, replicas) if makes else js.stream_info(snapshot.stream))
    except nats.js.errors.NotFoundError:
        raise BusFailed(f"snapshot {snapshot.name} is not there yet: {NOT_MADE}") from None
    except NATS_ERRORS as error:
        raise failure_of(f"snapshot {snapshot.name} cannot be opened: {why(error)}", error) from None


async def names_of(client: Client) -> set[str]:
    """Ask which streams there are. Raises what nats-py raises."""
    answer = msgspec.json.decode((await client.request("$JS.API.STREAM.NAMES", b"", timeout=5)).data)
    return set(answer.get("streams") or ())


def events_config(reserved_bytes: int) -> api.StreamConfig:
    """Say how events are kept: seven days, and the oldest go first when the space is used up."""
    return api.StreamConfig(
        name=EVENTS_STREAM,
        subjects=[EVENTS_SUBJECTS],
        max_age=EVENTS_MAX_AGE_S,
        max_bytes=reserved_bytes,
        discard=api.DiscardPolicy.OLD,
    )


def has_no_space(error: nats.js.errors.APIError) -> bool:
    """Whether NATS refuses to reserve so much of its disk."""
    said = (error.description or "").lower()
    return error.err_code == NO_SPACE or any(words in said for words in NO_SPACE_WORDS)


def why(error: BaseException) -> str:
    """Say why NATS did not do what it was asked; its disk, where that is the reason. `repr` of what nats-py raises says nothing."""
    if not isinstance(error, nats.js.errors.APIError):
        return f"{type(error).__name__}{f': {error}' if str(error) else ''}"
    said = error.description or type(error).__name__
    return f"NATS has no room on its disk ({said}): free some of it" if has_no_space(error) else said


async def add_stream(js: JetStreamContext, config: api.StreamConfig, replicas: Replicas) -> None:
    """Create a stream that does not exist; compare one that does. Raises what nats-py raises."""
    name = config.name or ""
    try:
        await conform(js, name, replicas, subjects=config.subjects)
    except nats.js.errors.NotFoundError:
        try:
            await replicas.made(name, lambda count: js.add_stream(config.evolve(num_replicas=count)))
        except nats.js.errors.BadRequestError as error:
            if error.err_code != EXISTS_OTHERWISE:
                raise


async def conform(  # noqa: PLR0913 which stream, and how it should be
    js: JetStreamContext,
    name: str,
    replicas: Replicas,
    max_age_s: float | None = None,
    *,
    durable: bool = True,
    subjects: list[str] | None = None,
) -> bool:
    """Change a stream that exists to what the settings say, or say what has to be done.

    False: NATS can never change it, and it need not be `durable`. Raises NotFoundError, what nats-py raises.
    """
    config = (await js.stream_info(name)).config
    changes: dict[str, Any] = {}
    if replicas.count > (config.num_replicas or 1):
        changes |= {"num_replicas": replicas.count}
    if subjects and config.subjects != subjects:
        changes |= {"subjects": subjects}
    if max_age_s is not None and config.max_age != max_age_s:
        window_s = config.duplicate_window or max_age_s
        changes |= {"max_age": max_age_s, "duplicate_window": min(window_s, max_age_s) if max_age_s else window_s}
    if not changes:
        return True
    try:
        await js.update_stream(config.evolve(persist_mode=None, **changes))  # NATS keeps it, or says that it cannot
    except nats.js.errors.APIError as error:
        if error.err_code == UNCHANGEABLE and not durable:
            return False
        await explain(js, name, changes, error, replicas)
    else:
        log.info("stream.changed", stream=name, **changes)
    return True


async def explain(
    js: JetStreamContext, name: str, changes: dict[str, Any], error: nats.js.errors.APIError, replicas: Replicas
) -> None:
    """Say why a stream stays as it is, unless somebody else has changed it at the same moment."""
    config = (await js.stream_info(name)).config
    reason = error.description or ""
    if changes.get("num_replicas", 0) > (config.num_replicas or 1):
        replicas.has_fewer(name, config.num_replicas or 1, reason)
    elif config.max_age != changes.get("max_age", config.max_age):
        log.warning("stream.change_refused", stream=name, wanted=changes, reason=reason, do=f"nats stream edit {name}")
