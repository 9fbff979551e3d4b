"""What a provider is asked for, and what it answers: plain values, the same for every provider.

An `Order` is the machine, its `Launch` the node that shall run on it. A provider that boots by user data (cloud-init)
uses both in `create`; one that works over SSH creates first and launches in `set_up`. The `Launch` holds secrets: it is
made anew from the configuration whenever it is needed and is kept nowhere.
"""

from dataclasses import dataclass, field
from typing import Final

from libs.common.model import MachineId
from libs.common.secret import Secret
from services.autoscaler.core.offers import Offer
from services.autoscaler.core.secrets import NO_SECRET

NODE_PORT: Final = 3000


@dataclass(frozen=True, kw_only=True)
class S3Target:
    """Where nodes put their results."""

    endpoint: str
    bucket: str
    access_key: Secret
    secret_key: Secret
    acl: str = ""
    """Empty: NodeODM's own default."""
    ignore_ssl: bool = False


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where a private image is pulled from."""

    url: str
    username: str = ""
    password: Secret = NO_SECRET


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The node that runs on a machine."""

    image: str
    token: Secret
    """Clients (the cluster) must send it to the node."""
    webhook_url: Secret = NO_SECRET
    """Called by the node when a task has finished; it holds the machine's own secret. Empty: none."""
    lease_url: Secret = NO_SECRET
    """Answers 200 while the machine is wanted. Empty: there is no lease."""
    lease_s: int = 0
    """The machine turns itself off after so long without a renewed lease; 0: never."""
    max_images: int | None = None
    gpu: bool = False
    swap_ratio: float = 0.0
    """Swap file in parts of the memory; 0: none."""
    data_mount: str = ""
    """Directory of the machine that becomes the node's data directory; empty: inside the container."""
    setup_command: str = ""
    registry: Registry | None = None
    s3: S3Target | None = None
    port: int = NODE_PORT


@dataclass(frozen=True, kw_only=True)
class Order:
    """A machine to be created."""

    name: MachineId
    """Also the key of idempotence: at no provider are there ever two of one name."""
    offer: Offer
    launch: Launch
    tags: dict[str, str] = field(default_factory=dict)
    """To be put on every resource, where the provider has tags: the cluster id among them."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A machine as the provider sees it."""

    name: MachineId
    ref: str = ""
    """The provider's own id."""
    address: str = ""
    """Where its node is reached; empty: not known yet."""
    port: int = NODE_PORT
    running: bool = True
    """False: still starting, or stopped; it exists and costs."""
    leaving: str = ""
    """The provider is about to take it away (a spot interruption), and why; empty: it is not."""
    size: str = ""
    """The provider's name of its size; empty: it does not say."""
    region: str = ""
    created_at_ms: int = 0
    """Since when it costs, by the provider's clock; 0: it does not say."""
