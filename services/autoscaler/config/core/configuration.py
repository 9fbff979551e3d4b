"""What an `--asr` file says, as one frozen value. `core.file` reads it; here is only what it means.

The keys are the original's for `digitalocean`, `aws`, `hetzner` and `scaleway`; what is ours besides is marked in
docs/autoscaler.md. Numbers that the original writes as -1 ("no limit") are None here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.amounts import amount
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
class OwnerBudget:
    """What may be spent for the tasks of one owner."""

    max_hourly_cost: float | None = None
    max_daily_cost: float | None = None


NO_BUDGET: Final = OwnerBudget()
ANYBODY: Final = "*"
"""In `budgets`: every owner that has none of its own."""


@dataclass(frozen=True, kw_only=True)
class ProviderLimits:
    """What is one provider's own, where the file has several."""

    name: str
    """As machines' records have it."""
    regions: tuple[str, ...] = ("",)
    machines_count: int | None = None
    """How many of its machines there may be; None: no limit of its own."""
    keep_results_s: int = 0


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
    budgets: Mapping[str, OwnerBudget] = field(default_factory=dict)
    """By owner."""
    warm: tuple[WarmPool, ...] = ()
    labels: tuple[str, ...] = ()
    """Of the nodes of all machines."""
    providers: tuple[ProviderLimits, ...] = ()
    """In the order in which they are preferred; empty: there is one, and all above is its own."""
    by_price: bool = False
    """The cheapest size of all providers comes first, not that of the first provider."""

    def budget_of(self, owner: str) -> OwnerBudget:
        """Give the budget of an owner; nobody's tasks have none."""
        return self.budgets.get(owner, self.budgets.get(ANYBODY, NO_BUDGET)) if owner else NO_BUDGET

    def of(self, provider: str) -> ProviderLimits:
        """Give what is one provider's own."""
        alone = ProviderLimits(name=provider, regions=self.regions, keep_results_s=self.keep_results_s)
        return next((each for each in self.providers if each.name == provider), alone)


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
    several: Mapping[str, "Configuration"] = field(default_factory=dict)
    """What each provider's part of the file means, by its name; empty: the file has one, and it is this."""

    @property
    def parts(self) -> Mapping[str, "Configuration"]:
        """Every provider's part."""
        return self.several or {self.provider: self}

    def part(self, provider: str) -> "Configuration":
        """Give the part of the provider of a machine; of one that the file has no more, what is common."""
        return self.several.get(provider, self)

    def claims(self, provider: str, region: str) -> bool:
        """Whether a machine that nobody knows is a provider's: two that share an account both list it."""
        own = self.parts[provider]
        rivals = [part for name, part in self.parts.items() if name != provider and part.provider == own.provider]
        return region in own.limits.regions or not any(region in part.limits.regions for part in rivals)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Everything that must never be shown, of every provider."""
        if self.several:
            return tuple(secret for part in self.several.values() for secret in part.secrets)
        found = [*self.cloud.keys.values(), *getattr(self.own, "secrets", ())]
        if self.node.s3:
            found += [self.node.s3.access_key, self.node.s3.secret_key]
        if self.node.registry:
            found.append(self.node.registry.password)
        return tuple(secret for secret in found if secret)

    def key(self, name: str) -> Secret:
        """One of the provider's keys."""
        return self.cloud.keys.get(name, NO_SECRET)


def described(found: Configuration) -> str:
    """Say in a line what a configuration means, in one each what its providers are, and what is to be noted."""
    if not found.several:
        lines = [f"no mistakes: {described_part(found.provider, found)}"]
    else:
        order = "the cheapest first" if found.limits.by_price else "in this order"
        lines = [f"no mistakes: {len(found.several)} providers, {order}; {most(found.limits.machines_count)} in all"]
        lines += [f"{name}: {described_part(part.provider, part)}" for name, part in found.several.items()]
    return "\n".join((*lines, *(f"note: {note}" for note in found.notes)))


def described_part(provider: str, found: Configuration) -> str:
    """Say in a line what one provider's part means."""
    sizes = ", ".join(f"{size.offered} up to {amount(size.max_images, 'image')}" for size in found.limits.sizes)
    bucket = f"results in {found.node.s3.bucket}" if found.node.s3 else fleeting(found)
    return f"{provider} by {found.mode}; {sizes}; {most(found.limits.machines_count)}; {bucket}"


def most(machines_count: int | None) -> str:
    """Say how many machines there may be."""
    return "any number of machines" if machines_count is None else f"at most {amount(machines_count, 'machine')}"


def fleeting(found: Configuration) -> str:
    """Say how long results can be had that nobody but their machine has."""
    return f"results go with their machine, {found.limits.keep_results_s} s after its last task"
