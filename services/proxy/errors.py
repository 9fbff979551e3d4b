"""What goes wrong on the proxy's own ways, by blame (clusterodm.libs.common.errors), and never sent over the bus. Pure.

    Refused        MalformedBody, BodyTooLong              the client sent what cannot be taken
                   SpoolFull                               the disk cannot take more now
                   SpoolRefused                            the operator gave one directory to two proxies, or one that is or can be no spool
                   WebhookFailed, WebhookRefused           the client's own server
    NodeFailed     NodeErred                               the node answered with an error that may pass
    ClusterError   ServerBusy, UploadOwnerUnavailable, SpoolLost  nobody can now

That a node says no, with its own words, is clusterodm.libs.common.nodeodm.client's NodeRefused.
"""

from clusterodm.libs.common.errors import ClusterError, NodeFailed, Refused


class SpoolFull(Refused):
    """The disk cannot take more. To be answered as non-2xx (507) with `{"error"}`: clients then try again."""


class SpoolRefused(Refused):
    """The spool directory cannot be used: another proxy does, it is no spool, or its file system has no hard links. The program ends with this sentence and exit code 1."""


class SpoolLost(ClusterError):
    """The spool directory was removed, or another lies in its place: the program ends with this sentence and exit code 1."""


class UploadOwnerUnavailable(ClusterError):
    """The proxy that holds the upload cannot be reached now; to be answered as 503: the client may try again."""


class NodeErred(NodeFailed):
    """The node answered with an error that may pass (500, 503, 429) instead of yes or no."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        """Keep the sentence, and how long the node wants to be left alone."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WebhookFailed(Refused):
    """The client's server did not take the message; the text names no more than its host."""


class WebhookRefused(WebhookFailed):
    """No client may send us there: another try would not help."""


class MalformedBody(Refused):
    """The body is not what its content type says, or is more than is allowed."""


class BodyTooLong(Refused):
    """The body is longer than this server takes; to be answered as 413."""


class ServerBusy(ClusterError):
    """Nothing is wrong but the moment; to be answered as 503 with Retry-After."""
