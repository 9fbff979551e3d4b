"""What an `--asr` file says, as one frozen value. `core.file` reads it; here is only what it means.

The keys are the original's for `digitalocean`, `aws`, `hetzner` and `scaleway`; what is ours besides is marked in
docs/autoscaler.md. Numbers that the original writes as -1 ("no limit") are None here.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import NO_SECRET, DockerRegistry, S3Target, Size

CLOUDS: Final = ("digitalocean", "aws", "hetzner", "scaleway")
"""The original's providers."""
DOCKER_MACHINE: Final = "docker-machine"
API: Final = "api"
MODES: Final = (DOCKER_MACHINE, API)


@dataclass(frozen=True, kw_only=True)
class WarmPool:
    """Machines that stand ready without demand, in a window of the week."""

    machines_count: int
    max_images: int
    """They take the smallest size for so many images."""
    from_minute: int = 0
    """Minute of the day, UTC."""
    to_minute: int = 24 * 60
    """Not after the start: the window goes over midnight."""
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    """Days on which it begins, Monday is 0."""


@dataclass(frozen=True, kw_only=True)
class ScalingLimits:
    """What the decisions depend on."""

    sizes: tuple[Size, ...]
    """The smallest first."""
    regions: tuple[str, ...] = ("",)
    """In the order in which they are tried."""
    machines_count: int | None = None
    """`dropletsLimit`, `instanceLimit`, `machinesLimit`."""
    min_images: int = 0
    create_retries: int = 1
    """Tries at once for one task, over all regions; then there is a longer pause."""
    max_runtime_s: int | None = None
    max_upload_s: int | None = None
    idle_timeout_s: int = 0
    """How long a machine without a task is kept for the next one."""
    keep_results_s: int = 0
    """How long a machine stays after its last task, because nobody but it has the results."""
    kept_machines_count: int | None = 0
    """So many machines that stay for nothing but their results count beside `machines_count`; None: all of them."""
    tasks_per_machine_count: int = 1
    """After so many tasks a machine goes; 0: it may take any number."""
    target_wait_s: int = 0
    """So long may a task wait for a machine that gets free; 0: no longer than a new one takes to start."""
    create_rate_count: int | None = None
    """At most so many machines are requested in a minute."""
    max_hourly_cost: float | None = None
    """Of all machines together, at any moment."""
    max_daily_cost: float | None = None
    """Over the last 24 hours."""
    warm: tuple[WarmPool, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepTimeouts:
    """How long the steps of a machine's life may take, in seconds."""

    create_s: int = 900
    set_up_s: int = 900
    online_s: int = 300
    """From the end of the set-up until the node answers `/info`."""
    destroy_s: int = 300
    """One try to destroy; tries go on until one is confirmed."""


@dataclass(frozen=True, kw_only=True)
class CloudSettings:
    """What is the provider's own business; each provider reads what it has."""

    keys: dict[str, Secret] = field(default_factory=dict)
    """By the names in the file: `accessToken`, `accessKey`, `secretKey`, `apiToken`, `organization`, `secretToken`."""
    image: str = ""
    """Of the machine: an image, a snapshot's name, or an AMI."""
    snapshot: bool = False
    ssh_fingerprint: str = ""
    ssh_path: str = ""
    tags: tuple[str, ...] = ()
    monitoring: bool = False
    engine_install_url: str = ""
    security_group: str = ""
    vpc: str = ""
    subnet: str = ""
    zone: str = ""
    iam_role: str = ""
    use_private_address: bool = False
    private_address_only: bool = False
    spot: bool = False
    endpoint: str = ""
    """Another address of the provider's API, for tests and private clouds."""
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """`create`, `list` and `destroy` of the provider `command`: program and arguments."""
    network: str = ""
    """Of the containers (docker)."""


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """The node that runs on each machine."""

    image: str = "opendronemap/nodeodm"
    gpu: bool = False
    swap_ratio: float = 1.0
    data_mount: str = ""
    setup_command: str = ""
    registry: DockerRegistry | None = None
    s3: S3Target | None = None
    lease_s: int = 0


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A checked configuration."""

    provider: str
    mode: str
    limits: ScalingLimits
    cloud: CloudSettings = CloudSettings()
    own: Any = None
    """What the provider's kind has read; None: `cloud` is all there is."""
    node: NodeSettings = NodeSettings()
    timeouts: StepTimeouts = StepTimeouts()
    downloads: str = "redirect"
    """How results that lie in S3 reach the client: `redirect` or `stream`."""
    notes: tuple[str, ...] = ()
    """What is no mistake, and yet worth a line."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Everything that must never be shown."""
        found = [*self.cloud.keys.values()]
        if self.node.s3:
            found += [self.node.s3.access_key, self.node.s3.secret_key]
        if self.node.registry:
            found.append(self.node.registry.password)
        return tuple(secret for secret in found if secret)

    def key(self, name: str) -> Secret:
        """One of the provider's keys."""
        return self.cloud.keys.get(name, NO_SECRET)


def described(found: Configuration) -> str:
    """Say in a line what a configuration means, and in one each what is to be noted."""
    sizes = ", ".join(f"{size.slug} up to {size.max_images} images" for size in found.limits.sizes)
    limit = "no limit" if found.limits.machines_count is None else f"at most {found.limits.machines_count}"
    bucket = f"results in {found.node.s3.bucket}" if found.node.s3 else fleeting(found)
    line = f"no mistakes: {found.provider} by {found.mode}; {sizes}; {limit} machines; {bucket}"
    return "\n".join((line, *(f"note: {note}" for note in found.notes)))


def fleeting(found: Configuration) -> str:
    """Say how long results can be had that nobody but their machine has."""
    return f"results go with their machine, {found.limits.keep_results_s} s after its last task"
