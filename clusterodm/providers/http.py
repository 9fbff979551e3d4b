"""For providers with an HTTP API: one call with its time limit, and what its failure means for the next try."""

from clusterodm.services.autoscaler.providers.adapters.http_api.account import described
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import (
    Page,
    RestClient,
    everything,
    moment_ms,
    together,
    words_of,
)

__all__ = ["Page", "RestClient", "described", "everything", "moment_ms", "together", "words_of"]
