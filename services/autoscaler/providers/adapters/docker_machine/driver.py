"""What docker-machine, its drivers and its machines are told, and what they say. Pure.

**Flags** of `docker-machine create`, driver by driver, exactly as the drivers take them. Secrets are not among them: every driver reads
them from the environment too, and a command line is for all to see. Sources: docker/machine `drivers/digitalocean`,
`drivers/amazonec2`; JonasProgrammer/docker-machine-driver-hetzner; scaleway/docker-machine-driver-scaleway.

**Words** of the program and its drivers: whether a machine is there, and what a creation has failed with.

**Script**: what is done on a machine over SSH once docker-machine has made it: swap, registry, set-up command, node. It is read from
standard input (`docker-machine ssh NAME bash -s`), never given as a word of a command: it holds secrets. It may run twice, after a
crash of ours in the middle: every part looks first whether it is done.
"""

import re
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings, Configuration
from clusterodm.services.autoscaler.orders import DockerRegistry, Launch, Order
from clusterodm.services.autoscaler.providers.core.order_words import flat_tags, labels, run_words

DRIVERS: Final = {"digitalocean": "digitalocean", "aws": "amazonec2", "hetzner": "hetzner", "scaleway": "scaleway"}
ENVIRONMENT: Final = {
    "digitalocean": {"DIGITALOCEAN_ACCESS_TOKEN": "accessToken"},
    "aws": {"AWS_ACCESS_KEY_ID": "accessKey", "AWS_SECRET_ACCESS_KEY": "secretKey"},
    "hetzner": {"HETZNER_API_TOKEN": "apiToken"},
    "scaleway": {"SCALEWAY_ORGANIZATION": "organization", "SCALEWAY_TOKEN": "secretToken"},
}
"""Which variable holds which of the configuration's keys."""
IDS: Final = {"digitalocean": "DropletID", "aws": "InstanceId", "hetzner": "ServerID", "scaleway": "ServerID"}
"""Where a driver keeps the provider's id of a machine."""
NUMBERED: Final = {"digitalocean", "hetzner"}
"""Whose API knows a machine by the same id."""
LONGEST_REMOVAL_S: Final = 120.0
"""Some drivers wait without end for a machine to vanish that they have failed to remove."""
NO_REPORTS: Final = {"MACHINE_BUGSNAG_API_TOKEN": "no-report"}
"""Without it the program sends a report of each failure to a service of its makers (libmachine/crashreport)."""
NO_ID: Final = "docker-machine was told no id of it"
NO_ENTRY: Final = "docker-machine has no entry of it"
EXTRAS: Final = {
    "--digitalocean-monitoring": 0,
    "--digitalocean-tags": 1,
    "--amazonec2-monitoring": 0,
    "--amazonec2-tags": 1,
    "--hetzner-server-label": 1,
}
"""Flags that not every version of a driver knows (Hetzner's 2.0.1 has no labels) and a machine can do without, and how many words
follow each. Machines are found again by their names."""
FLAG: Final = re.compile(r"\s*(--[a-z0-9][a-z0-9-]*)")
ABSENT: Final = 'Docker machine "{name}" does not exist'
"""Drivers say of other things, too, that they do not exist."""
VANISHED: Final = r"\b404\b|not[ _]?found|could not be found|does ?n.t exist"
"""How drivers say that the provider has no such machine (any more)."""
NO_DRIVER: Final = "plugin binary"
"""What is said when the driver itself is not found: that says nothing about any machine."""
OTHERWISE: Final = (
    'Or put "mode": "api" into the file: then no docker-machine is needed (docs/autoscaler.md).'
    " An image with docker-machine is built by deploy/Dockerfile.docker-machine."
)
NOT_THERE: Final = (
    f"Docker-machine not found in PATH. Please install docker-machine if you want to use the autoscaler. {OTHERWISE}"
)
BROKEN: Final = f"Docker-machine does not seem to work. Please make sure docker-machine is working. {OTHERWISE}"
SIGNS: Final = (
    (Trouble.UNAUTHORISED, r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|AuthFailure|unable to authenticate|credentials"),
    (
        Trouble.OUT_OF_CAPACITY,
        r"capacity|quota|limit ?exceeded|droplet limit|resource_unavailable|sold.?out|not available|no.*stock",
    ),
    (Trouble.REFUSED, r"\b422\b|not defined|invalid|unknown|usage|requires|not found"),
)
"""What a driver's last words mean, the first that fits; anything else may work the next time."""
DONE: Final = "/var/lib/clusterodm-set-up"
SWAP: Final = "/swapfile"


@dataclass(frozen=True)
class Resolved:
    """What had to be looked up at the provider first."""

    image: str
    region: str
    ssh_key_id: str = ""
    """Hetzner's number of the key with the configured fingerprint."""


def create_words(
    configuration: Configuration, order: Order, found: Resolved, known: Container[str] | None = None
) -> list[str]:
    """Give the words behind `docker-machine`; `known`: what the installed driver knows (`flags_in`), None: not asked."""
    driver = DRIVERS[configuration.provider]
    words = ["create", "--driver", driver, *FLAGS[configuration.provider](configuration.cloud, order, found)]
    if configuration.cloud.engine_install_url:
        words += ["--engine-install-url", configuration.cloud.engine_install_url]
    return [*(words if known is None else without_extras(words, known)), order.name]


def help_words(configuration: Configuration) -> list[str]:
    """Give the words behind `docker-machine` that make it tell which flags the installed driver knows."""
    return ["create", "--driver", DRIVERS[configuration.provider], "--help"]


def flags_in(lines: Iterable[str]) -> frozenset[str]:
    """Read the flags out of what `help_words` shows: one per line, in front."""
    return frozenset(found[1] for line in lines if (found := FLAG.match(line)))


def missing_extras(configuration: Configuration, known: Container[str]) -> list[str]:
    """List the flags that would be used if the installed driver knew them."""
    driver = DRIVERS[configuration.provider]
    return [flag for flag in EXTRAS if flag.startswith(f"--{driver}-") and flag not in known]


def without_extras(words: Sequence[str], known: Container[str]) -> Iterator[str]:
    """Leave out what the driver does not know and a machine can do without."""
    skipped = 0
    for word in words:
        if skipped:
            skipped -= 1
        elif word in EXTRAS and word not in known:
            skipped = EXTRAS[word]
        else:
            yield word


def environment(configuration: Configuration) -> dict[str, Secret]:
    """Give the variables with the secrets."""
    return {name: configuration.key(key) for name, key in ENVIRONMENT[configuration.provider].items()}


def digitalocean(cloud: CloudSettings, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `digitalocean`."""
    yield from ("--digitalocean-region", found.region, "--digitalocean-image", found.image)
    yield from ("--digitalocean-size", order.offer.size.slug)
    if cloud.monitoring:
        yield "--digitalocean-monitoring"
    if tags := flat_tags(cloud.tags, order.tags):
        yield from ("--digitalocean-tags", ",".join(tags))
    if cloud.ssh_fingerprint:
        yield from ("--digitalocean-ssh-key-fingerprint", cloud.ssh_fingerprint)
    if cloud.ssh_path:
        yield from ("--digitalocean-ssh-key-path", cloud.ssh_path)


def amazonec2(cloud: CloudSettings, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `amazonec2`."""
    size = order.offer.size
    yield from ("--amazonec2-region", found.region, "--amazonec2-ami", found.image)
    yield from ("--amazonec2-instance-type", size.slug, "--amazonec2-security-group", cloud.security_group)
    if size.storage_gb:
        yield from ("--amazonec2-root-size", str(size.storage_gb))
    if cloud.monitoring:
        yield "--amazonec2-monitoring"
    if size.spot:
        yield "--amazonec2-request-spot-instance"
    if size.spot and size.spot_price is not None:  # of a size that the file has no more nobody knows it
        yield from ("--amazonec2-spot-price", f"{size.spot_price:g}")
    yield from ("--amazonec2-tags", ",".join(amazon_tags(cloud, order)))
    yield from amazon_network(cloud)
    if cloud.ssh_path:
        yield from ("--amazonec2-ssh-keypath", cloud.ssh_path)


def amazon_tags(cloud: CloudSettings, order: Order) -> Iterator[str]:
    """Give keys and values in turn: ours first, because those of the configuration may be an odd number."""
    for key, value in order.tags.items():
        yield from (key, value)
    yield from cloud.tags


def amazon_network(cloud: CloudSettings) -> Iterator[str]:
    """Give the flags that say where in Amazon's network a machine is."""
    if cloud.use_private_address:
        yield "--amazonec2-use-private-address"
        if cloud.private_address_only:
            yield "--amazonec2-private-address-only"
    named = {"zone": cloud.zone, "vpc-id": cloud.vpc, "subnet-id": cloud.subnet, "iam-instance-profile": cloud.iam_role}
    for flag, value in named.items():
        if value:
            yield from (f"--amazonec2-{flag}", value)


def hetzner(cloud: CloudSettings, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `hetzner`."""
    yield from ("--hetzner-server-location", found.region, "--hetzner-server-type", order.offer.size.slug)
    yield from ("--hetzner-image-id" if cloud.snapshot else "--hetzner-image", found.image)
    for key, value in labels(cloud.tags, order.tags).items():
        yield from ("--hetzner-server-label", f"{key}={value}")
    if found.ssh_key_id:
        yield from ("--hetzner-existing-key-id", found.ssh_key_id)
    if cloud.ssh_path:
        yield from ("--hetzner-existing-key-path", cloud.ssh_path)


def scaleway(_cloud: CloudSettings, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `scaleway`, which makes a name up where it is not told one: nobody would find the machine again."""
    yield from ("--scaleway-name", order.name)
    yield from ("--scaleway-region", found.region, "--scaleway-image", found.image)
    yield from ("--scaleway-commercial-type", order.offer.size.slug)


FLAGS: Final[Mapping[str, Callable[[CloudSettings, Order, Resolved], Iterator[str]]]] = {
    "digitalocean": digitalocean,
    "aws": amazonec2,
    "hetzner": hetzner,
    "scaleway": scaleway,
}


def has_id(provider: str, entry: Mapping[str, object]) -> bool:
    """Whether an entry, as `inspect` shows its driver, has an id: else it is of no machine that the driver knows of."""
    key = IDS.get(provider, "")
    return key not in entry or bool(entry[key])


def id_at_provider(provider: str, entry: Mapping[str, object]) -> str:
    """Give the id under which the provider's API knows the machine of an entry; empty: there is none, or the API has another."""
    return str(entry.get(IDS.get(provider, "")) or "") if provider in NUMBERED else ""


def absent(name: MachineId, text: str) -> bool:
    """Whether docker-machine has no entry of this name."""
    return ABSENT.format(name=name) in text


def vanished(text: str) -> bool:
    """Whether a driver says that the provider has no such machine."""
    return NO_DRIVER not in text and bool(re.search(VANISHED, text, re.IGNORECASE))


def meaning(text: str) -> Trouble:
    """Judge a failed creation by what it said."""
    for trouble, sign in SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return trouble
    return Trouble.RETRYABLE


def set_up_script(launch: Launch) -> str:
    """Write the script, secrets in clear."""
    parts = [
        "set -eu",
        swap(launch.swap_ratio) if launch.swap_ratio else "",
        once(launch.setup_command) if launch.setup_command else "",
        login(launch.registry) if launch.registry else "",
        node(launch),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def swap(ratio: float) -> str:
    """Add swap in parts of the memory."""
    return (
        f"if ! swapon --show=NAME --noheadings | grep -qx {SWAP}; then\n"
        f"  size=$(awk '/^MemTotal/ {{ printf \"%.0f\", $2 * {ratio:g} * 1024 }}' /proc/meminfo)\n"
        f'  fallocate -l "$size" {SWAP}\n'
        f"  chmod 600 {SWAP}\n  mkswap {SWAP}\n  swapon {SWAP}\n"
        "fi"
    )


def once(command: str) -> str:
    """Run the operator's command, once."""
    return f"if ! test -e {DONE}; then\n  bash -c {shlex.quote(command)}\n  touch {DONE}\nfi"


def login(registry: DockerRegistry) -> str:
    """Log in to the registry; the password goes in by standard input."""
    user, url = shlex.quote(registry.username), shlex.quote(registry.url)
    password = shlex.quote(registry.password.reveal())
    return f"printf %s {password} | docker login -u {user} --password-stdin {url}"


def node(launch: Launch) -> str:
    """Start the node, unless something serves its port already."""
    return f'if test -z "$(docker ps -aq --filter publish={launch.port})"; then\n  {shlex.join(run_words(launch))}\nfi'
