"""What a provider is asked for, and what it answers: plain values, the same for every provider.

A `Creation` is what a plan wants; an `Order` is the machine, its `Launch` the node that shall run on it. A provider that boots by
user data (cloud-init) uses both in `create`; one that works over SSH creates first and launches in `set_up`. The `Launch` holds
secrets: it is made anew from the configuration whenever it is needed and is kept nowhere; what is said of it is `masked`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, Protocol

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.model.machines import offered
from clusterodm.libs.common.model.values import NOBODY, MachineId, Owner, TaskId
from clusterodm.libs.common.secret import HIDDEN, Secret

SHORTEST: Final = 4
"""Shorter texts are not searched for: they would blank half of every line."""
NO_SECRET: Final = Secret("")
GIGABYTE = 1_000_000_000
NODE_PORT: Final = 3000


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Replace every secret in a text, the longest first."""
    for found in sorted({secret.reveal() for secret in secrets}, key=len, reverse=True):
        if len(found) >= SHORTEST:
            text = text.replace(found, HIDDEN)
    return text


@dataclass(frozen=True, kw_only=True)
class Size:
    """One entry of `imageSizeMapping`."""

    slug: str
    """The provider's name of it; for the providers without sizes any word."""
    max_images: int
    max_bytes: int | None = None
    """`maxGigabytes`: no dataset with more bytes. None: no limit."""
    memory_bytes: int | None = None
    """`memoryGigabytes`, for tasks that ran out of memory elsewhere. None: not said."""
    price_per_hour: float | None = None
    billed_unit_s: int = 1
    """`billing`: started units of so much are billed whole; 1: what is used, to the second."""
    billed_least_s: int = 0
    """`billingMinimum`: so much is billed however short it was."""
    tasks_at_once_count: int = 1
    """`tasksPerMachine`: so many tasks share it and its memory."""
    spot_price: float | None = None
    """The highest bid (aws with `spot`)."""
    storage_gb: int | None = None
    """Size of the root disk (aws)."""
    provider: str = ""
    """Who has it, by the name in the file; empty: the file has one provider."""
    spot: bool = False
    """Rented as a machine that may be taken away at any time."""
    interruptions_limit_count: int = 0
    """A task that has lost so many spot machines is not sent there; 0: any may be."""
    gpu: bool = False
    """It has a graphics card."""

    @property
    def offered(self) -> str:
        """What it is told by where a spot machine of the same name is another offer."""
        return offered(self.slug, spot=self.spot)

    def stands_in_for(self, other: "Size") -> bool:
        """Whether it takes every task that another takes."""
        enough_bytes = self.max_bytes is None or (other.max_bytes is not None and self.max_bytes >= other.max_bytes)
        own_memory = (self.memory_bytes or inf) / self.tasks_at_once_count
        enough_memory = own_memory >= (other.memory_bytes or 0) / other.tasks_at_once_count
        return self.max_images >= other.max_images and enough_bytes and enough_memory and self.gpu >= other.gpu


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A size in a region."""

    size: Size
    region: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a machine's record keeps of it."""
        return self.size.provider, self.region, self.size.offered

    def __str__(self) -> str:
        place = f"{self.size.offered} in {self.region}" if self.region else self.size.offered
        return f"{place} at {self.size.provider}" if self.size.provider else place


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
class DockerRegistry:
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
    report_url: Secret = NO_SECRET
    """Takes the last lines of a boot that has failed. Empty: nobody does."""
    output_url: Secret = NO_SECRET
    """Takes what is said while it boots. Empty: nobody does."""
    lease_s: int = 0
    """The machine turns itself off after so long without a renewed lease; 0: never."""
    max_images: int | None = None
    tasks_at_once_count: int = 1
    """NodeODM's `--parallel_queue_processing`."""
    gpu: bool = False
    swap_ratio: float = 0.0
    """Swap file in parts of the memory; 0: none."""
    data_mount: str = ""
    """Directory of the machine that becomes the node's data directory; empty: inside the container."""
    setup_command: str = ""
    registry: DockerRegistry | None = None
    s3: S3Target | None = None
    port: int = NODE_PORT
    snapshot_key: Secret = NO_SECRET
    """The machine becomes a snapshot: no node is started, and whoever has this key is told when the image is there. Empty: it does not."""


class BootOutput(Protocol):
    """Where whoever carries an order out says what there is to read of the machine's boot. It may hold secrets: they are masked behind it."""

    def said(self, line: str) -> None:
        """One line more of a program that makes the machine."""

    def shows(self, lines: Sequence[str]) -> None:
        """All lines of the machine's own log until now, from its first: whoever can read it at the provider calls it again and again."""


class Unheard:
    """Where nobody listens."""

    def said(self, line: str) -> None:
        """Drop it."""

    def shows(self, lines: Sequence[str]) -> None:
        """Drop them."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A machine to be created."""

    name: MachineId
    """Also the key of idempotence: at no provider are there ever two of one name."""
    offer: Offer
    launch: Launch
    tags: dict[str, str] = field(default_factory=dict)
    """To be put on every resource, where the provider has tags: the cluster id among them."""
    asked_before: bool = True
    """Whether a call for it may have been made already. False: none was, so where the provider cannot be asked, nothing of it is there."""
    boot: BootOutput = field(default_factory=Unheard, compare=False, repr=False)


@dataclass(frozen=True)
class Removal:
    """What came of destroying a machine. True: there was something to remove."""

    was_there: bool
    gone_ago_s: float | None = 0.0
    """Since when it costs nothing for certain: since the provider took the removal after which the next look showed nothing, or else since the first look
    that showed nothing. None: something may be there (`RemovalFailed`)."""
    unseen: str = ""
    """Why nobody here can see whether the provider has it still; empty: it has it no more."""

    def __bool__(self) -> bool:
        return self.was_there


class RemovalFailed(ProviderFailed):
    """A removal that has not come to its end, and what it has seen until then: nothing of that is true for longer than it says."""

    def __init__(self, error: ProviderFailed, so_far: Removal, ref: str = "") -> None:
        super().__init__(error.message, error.trouble, ref=error.ref or ref)
        self.so_far = so_far


@dataclass(frozen=True, kw_only=True)
class ProviderMachine:
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


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A machine to be requested."""

    offer: Offer
    images_count: int
    """What it is for; part of its name."""
    for_task: TaskId | None
    reason: str
    owner: Owner = NOBODY
    """Whose budget it counts against."""


def presumed_size(sizes: Sequence[Size], slug: str, named_images: int, max_images: int | None) -> Size:
    """Say what is to be counted on of a machine whose record is lost.

    `named_images`: for how many its name says that it was made; `max_images`: how many its node says that it takes. Where no
    entry of the file has its size, it takes what its node or its name says, and costs as much as the dearest that it could be.
    """
    own = sorted((size for size in sizes if size.slug == slug), key=lambda size: (size.max_images, size.spot))
    if own:
        return next((size for size in own if size.max_images >= named_images), own[-1])
    same = [size for size in sizes if size.max_images == max_images]
    possible = same or [size for size in sizes if size.max_images >= named_images] or sizes
    prices = [size.price_per_hour for size in possible if size.price_per_hour is not None]
    return Size(slug=slug, max_images=max_images or named_images, price_per_hour=max(prices, default=None))
