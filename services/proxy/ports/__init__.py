"""What the proxy needs from the world, as Protocols, and the errors that come from there.

spool      the received files: what an upload is, and how it lives
cluster    the mirrors of what the scheduler publishes
ways       to the nodes, to the other proxies, to webhooks
troubles   what goes wrong on these ways
"""

from libs.common.errors import NotFound
from libs.common.http_cycle import Tap
from libs.common.http_link import Patience
from services.proxy.ports.cluster import (
    Cluster,
    ClusterView,
)
from services.proxy.ports.spool import (
    NO_SUCH_UPLOAD,
    Draft,
    Forwarding,
    Held,
    Manifest,
    Mark,
    Part,
    Receipt,
    Spool,
    StoredFile,
)
from services.proxy.ports.troubles import (
    HolderAway,
    NodeErred,
    NodeRefused,
    SpoolFull,
    SpoolLocked,
    SpoolLost,
    WebhookFailed,
    WebhookRefused,
)
from services.proxy.ports.ways import (
    Call,
    Holders,
    NodeReply,
    Passed,
    PeerAnswer,
    Peers,
    Poured,
    Sender,
    Upstream,
    Webhook,
)

__all__ = [
    "NO_SUCH_UPLOAD",
    "Call",
    "Cluster",
    "ClusterView",
    "Draft",
    "Forwarding",
    "Held",
    "HolderAway",
    "Holders",
    "Manifest",
    "Mark",
    "NodeErred",
    "NodeRefused",
    "NodeReply",
    "NotFound",
    "Part",
    "Passed",
    "Patience",
    "PeerAnswer",
    "Peers",
    "Poured",
    "Receipt",
    "Sender",
    "Spool",
    "SpoolFull",
    "SpoolLocked",
    "SpoolLost",
    "StoredFile",
    "Tap",
    "Upstream",
    "Webhook",
    "WebhookFailed",
    "WebhookRefused",
]
