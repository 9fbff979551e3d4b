"""What goes wrong on the proxy's own ways; of libs.common.errors, and never sent over the bus."""

from libs.common.errors import ClusterError, NodeFailed, Refused


class SpoolFull(Refused):
    """The disk cannot take more. To be answered as non-2xx (507) with `{"error"}`: clients then try again."""


class SpoolLocked(Refused):
    """Another proxy is using this spool directory: the program ends with this sentence and exit code 1."""


class HolderAway(ClusterError):
    """The proxy that holds the upload cannot be reached now; to be answered as 503: the client may try again."""


class NodeRefused(NodeFailed):
    """The node answered with a reason why it will not take this; the message holds its words."""


class WebhookFailed(Refused):
    """The client's server did not take the message; the text names no more than its host."""
