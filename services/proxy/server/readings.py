"""What a scrape reads of a proxy. Pure."""

from collections.abc import Iterator

from clusterodm.libs.common.http_io.sharing import Connections
from clusterodm.libs.common.telemetry.metrics import Reading
from clusterodm.services.proxy.exchange.limits import UploadLimiter
from clusterodm.services.proxy.metrics import (
    CONNECTIONS,
    CONNECTIONS_REFUSED,
    FORWARDING,
    SPOOL_FREE,
    SPOOL_RESERVE,
    SPOOL_SIZE,
    SPOOLED,
    UNSUBMITTED,
    UPLOADS_OPEN,
    UPLOADS_RECEIVING,
    UPLOADS_WAITING,
)
from clusterodm.services.proxy.spool.core.stored import SpoolFigures


def of_connections(connections: Connections) -> Iterator[Reading]:
    """Say how many clients there are."""
    yield Reading(CONNECTIONS, len(connections.present))
    yield Reading(CONNECTIONS_REFUSED, connections.refused_count)


def of_uploads(limiter: UploadLimiter) -> Iterator[Reading]:
    """Say how many upload requests are under way."""
    yield Reading(UPLOADS_RECEIVING, limiter.taken_count)
    yield Reading(UPLOADS_WAITING, limiter.waiting_count)


def of_spool(spool: SpoolFigures, sending_count: int) -> Iterator[Reading]:
    """Say what lies here, and what is on its way to nodes."""
    yield Reading(UPLOADS_OPEN, spool.open_count)
    yield Reading(SPOOLED, spool.tasks_count)
    yield Reading(UNSUBMITTED, spool.unsubmitted_count)
    yield Reading(SPOOL_FREE, spool.free_bytes)
    yield Reading(SPOOL_SIZE, spool.size_bytes)
    yield Reading(SPOOL_RESERVE, spool.reserve_bytes)
    yield Reading(FORWARDING, sending_count)
