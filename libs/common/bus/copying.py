"""Copies everything that is kept in one NATS into another: streams, buckets and object stores, with their sequences.

A single server cannot become a member of a cluster with what it has: the cluster does not know of its streams, and removes them. So
they are carried over as backups are: NATS' snapshot of a stream goes in chunks, each acknowledged, from the one to the other.
(https://docs.nats.io/reference/reference-protocols/nats_api_reference: STREAM.SNAPSHOT and STREAM.RESTORE.)

Nobody may write meanwhile. Consumers are not carried over: who follows a stream makes its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client

from clusterodm.libs.common.bus.retrying import NATS_ERRORS, retry
from clusterodm.libs.common.bus.streams import why
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.process.lifecycle import cancellable

log = structlog.get_logger()

CHUNK_S: Final = 20.0
"""For one chunk, or the answer to one request."""
TAKEN_WITHIN_S: Final = 10.0
"""So long nobody may answer to a chunk: what nobody has taken can be sent again."""


async def copy_all(source: Client, target: Client, replicas_count: int, wait_s: float = 0.0) -> dict[str, int]:
    """Copy every stream; how many messages each has. Raises Refused when the target has one of them, BusFailed.

    Servers that listen already may take some seconds until they can say anything of streams: a single one reads its store, several elect a leader. So long
    they are waited for, up to `wait_s`.
    """
    names = await retry(lambda: streams_of(source), "the source says which streams it has", wait_s)
    there = await retry(lambda: streams_of(target), "the target says which streams it has", wait_s)
    if both := sorted(set(there).intersection(names)):
        raise Refused(f"the target has {', '.join(both)} already: it must be empty")
    try:
        return {name: await copy(source, target, name, replicas_count) for name in sorted(names)}
    except NATS_ERRORS as error:
        raise BusFailed(f"not copied: {why(error)}") from None


async def streams_of(client: Client) -> list[str]:
    """Name the streams of a server. Raises BusFailed."""
    try:
        return [each.config.name or "" for each in await cancellable(client.jetstream().streams_info())]
    except NATS_ERRORS as error:
        raise BusFailed(f"not copied: {why(error)}") from None


async def copy(source: Client, target: Client, name: str, replicas_count: int) -> int:
    """Copy one stream; how many messages it has. Raises what nats-py raises, BusFailed."""
    async with snapshot(source, name) as (told, chunks):
        config = {key: value for key, value in told["config"].items() if key != "persist_mode"}
        wanted = {"config": {**config, "num_replicas": replicas_count}, "state": told["state"]}
        opened = await retry(
            lambda: answer(target, f"$JS.API.STREAM.RESTORE.{name}", wanted), f"{name} is taken", TAKEN_WITHIN_S
        )
        sink = opened["deliver_subject"]
        async for chunk in chunks:
            await deliver(target, sink, chunk)
    made = checked(name, await deliver(target, sink, b""))
    count = int(made["state"]["messages"])
    if count != told["state"]["messages"]:
        raise BusFailed(f"{name}: {count} of {told['state']['messages']} messages have arrived")
    log.info("stream.copied", stream=name, messages=count, replicas=replicas_count)
    return count


async def deliver(target: Client, sink: str, chunk: bytes) -> bytes:
    """Hand a chunk over; the answer to it. In a cluster the servers hear a moment later than we do which of them takes it."""

    async def once() -> bytes:
        try:
            return (await cancellable(target.request(sink, chunk, timeout=CHUNK_S))).data
        except nats.errors.NoRespondersError:
            raise BusFailed("no server of the cluster takes what is copied") from None

    return await retry(once, "a server takes what is copied", TAKEN_WITHIN_S)


@asynccontextmanager
async def snapshot(source: Client, name: str) -> AsyncIterator[tuple[dict[str, Any], AsyncIterator[bytes]]]:
    """Open a snapshot of a stream: what NATS says of it, and its chunks."""
    inbox = source.new_inbox()
    subscription = await cancellable(source.subscribe(inbox))

    async def chunks() -> AsyncIterator[bytes]:
        while (message := await cancellable(subscription.next_msg(timeout=CHUNK_S))).data:
            yield message.data
            if message.reply:
                await cancellable(source.publish(message.reply))

    try:
        asked = {"deliver_subject": inbox, "no_consumers": True}
        yield await answer(source, f"$JS.API.STREAM.SNAPSHOT.{name}", asked), chunks()
    finally:
        await cancellable(subscription.unsubscribe())


async def answer(client: Client, subject: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Ask JetStream. Raises BusFailed for its errors."""
    return checked(
        subject, (await cancellable(client.request(subject, msgspec.json.encode(asked), timeout=CHUNK_S))).data
    )


def checked(what: str, data: bytes) -> dict[str, Any]:
    """Read an answer of JetStream's. Raises BusFailed for its errors."""
    told: dict[str, Any] = msgspec.json.decode(data)
    if "error" in told:
        raise BusFailed(f"{what}: {told['error'].get('description', 'refused')}")
    return told
