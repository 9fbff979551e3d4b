"""Which life of the cluster this is: an id that is made once, by whoever comes first, and lies in NATS (KV `cluster`).

A store that is lost and begins anew has another one. Whoever keeps something of the cluster outside of NATS (a proxy its spool, the
autoscaler its machines) writes the id beside it, and sees by that whether the store that it finds is the one which it knows.
An older store that was restored has the same id: that it is older shows in its records alone.

One that is there and cannot be read says neither that the store is the one it was nor that it is another. So it is never replaced, and nobody
waits for it: whoever asks goes on as with the store that it knows. Safety does not rest on the incarnation (decision 66).
"""

import uuid
from collections.abc import Callable

import structlog

from clusterodm.libs.common.bus.retrying import retry
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import IncarnationId
from clusterodm.libs.common.ports import Bucket, Bus

log = structlog.get_logger()


async def incarnation(bus: Bus, now_ms: Callable[[], int], wait_s: float = 0.0) -> Incarnation | None:
    """Read the incarnation, or make it, as soon as NATS can; None: this version cannot read it. Raises BusFailed when `wait_s` is over."""
    bucket = await bus.bucket(CLUSTER)
    return await retry(lambda: read_or_made(bucket, now_ms), "the incarnation of the cluster is known", wait_s)


async def read_or_made(bucket: Bucket[Incarnation], now_ms: Callable[[], int]) -> Incarnation | None:
    """Read the incarnation, or make it; of several that make one, one wins. None: there is one that cannot be read. Raises BusFailed."""
    try:
        return await the_one(bucket, now_ms)
    except Unreadable:
        return None


def log_not_read() -> None:
    """Say that it cannot be read, and what to do: once, by whoever asks again and again."""
    log.error(
        "incarnation.not_read",
        reason="it was written by a later version, or is damaged; whether the store is lost is not seen",
        remedy=f"run that version; where there is none: nats kv del {CLUSTER.name} {INCARNATION_KEY}, and a new one is made",
    )


async def the_one(bucket: Bucket[Incarnation], now_ms: Callable[[], int]) -> Incarnation:
    """Read the incarnation, or make it. Raises Unreadable, BusFailed."""
    entry = await bucket.get(INCARNATION_KEY)
    if entry is not None:
        return entry.value
    made = Incarnation(id=IncarnationId(uuid.uuid4().hex), made_at_ms=now_ms())
    try:
        await bucket.create(INCARNATION_KEY, made)
    except Conflict:  # another service has just made it
        entry = await bucket.get(INCARNATION_KEY)
        if entry is None:
            raise BusFailed("the incarnation has disappeared") from None
        return entry.value
    return made
