"""What the proxy counts. What a scrape reads besides is in server/readings.py; the names are in docs/metrics.md."""

from typing import Final

from clusterodm.libs.common.telemetry.metrics import LONG_S, counter, gauge, histogram, summed

REQUEST_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
"""Polls take a millisecond, uploads and downloads minutes."""

HTTP_REQUESTS: Final = counter(
    "clusterodm_http_requests_total",
    "Requests of clients, nodes and machines that were answered, by endpoint and status; dropped: the connection was closed instead",
    "endpoint",
    "code",
)
HTTP_SECONDS: Final = histogram(
    "clusterodm_http_request_seconds",
    "From a request's head to the end of its answer, uploads and downloads included, by endpoint",
    "endpoint",
    limits=REQUEST_S,
)
HTTP_RECEIVED: Final = counter(
    "clusterodm_http_received_bytes_total", "Bytes of bodies of requests, by endpoint", "endpoint"
)
HTTP_SENT: Final = counter("clusterodm_http_sent_bytes_total", "Bytes of bodies of answers, by endpoint", "endpoint")
CONNECTIONS: Final = gauge("clusterodm_http_connections", "Connections of clients that are open")
CONNECTIONS_REFUSED: Final = summed(
    "clusterodm_http_connections_refused_total", "Connections that were closed at once because there were too many"
)

UPLOADS_OPEN: Final = gauge("clusterodm_uploads_open", "Uploads that were begun here and are not committed")
UPLOADS_RECEIVING: Final = gauge("clusterodm_upload_requests", "Upload requests whose body is being received")
UPLOADS_WAITING: Final = gauge("clusterodm_upload_requests_waiting", "Upload requests that wait for their turn")
UPLOADS_REFUSED: Final = counter(
    "clusterodm_upload_requests_refused_total", "Upload requests that were refused after waiting for their turn"
)
SPOOLED: Final = gauge("clusterodm_spool_tasks", "Tasks of which something is in the spool, uploads included")
UNSUBMITTED: Final = gauge(
    "clusterodm_spool_unsubmitted_tasks", "Uploads and tasks that the scheduler has not acknowledged"
)
SPOOL_FREE: Final = gauge("clusterodm_spool_free_bytes", "Room that is left on the spool's disk")
SPOOL_SIZE: Final = gauge("clusterodm_spool_size_bytes", "Size of the spool's disk")
SPOOL_RESERVE: Final = gauge("clusterodm_spool_reserve_bytes", "Room at which uploads are refused (--min-free-disk)")

FORWARDING: Final = gauge("clusterodm_forwarding_tasks", "Tasks that are being sent to nodes now")
FORWARDED: Final = counter(
    "clusterodm_forward_attempts_total",
    "Attempts to send a task to its node: forwarded, failed, uncertain (the node may have it), stopped (it counts no more)",
    "outcome",
)
FORWARD_SECONDS: Final = histogram(
    "clusterodm_forward_seconds",
    "How long an attempt took to send a task to its node, by outcome",
    "outcome",
    limits=LONG_S,
)
FORWARDED_FILES: Final = counter("clusterodm_forwarded_files_total", "Files that nodes have taken")
FORWARDED_BYTES: Final = counter("clusterodm_forwarded_bytes_total", "Bytes of files that nodes have taken")
STAGE_IN: Final = counter(
    "clusterodm_stage_in_transfers_total",
    "Transfers to nodes ahead of the commit: begun, confirmed (the task was placed there), given up",
    "outcome",
)
MACHINE_CALLS_REFUSED: Final = counter(
    "clusterodm_machine_calls_refused_total",
    "Webhooks, leases and last words of machines with a wrong or missing secret",
    "call",
)
WEBHOOKS: Final = counter(
    "clusterodm_webhooks_total", "Calls of clients' webhooks at the end of their tasks, by outcome", "outcome"
)
