"""The flags of `docker-machine create`, read strictly as the real program reads them (Go's flag package).

Sources: docker/machine at b170508 for `digitalocean`, `amazonec2` and the common flags; the drivers of Hetzner 5.0.2 and
Scaleway 1.6. Each flag: its type (s text, b true or false, i whole number, l list) and its environment variable.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

COMMON: Final = """
driver s MACHINE_DRIVER
engine-install-url s MACHINE_DOCKER_INSTALL_URL
engine-opt l -
engine-insecure-registry l -
engine-registry-mirror l ENGINE_REGISTRY_MIRROR
engine-label l -
engine-storage-driver s -
engine-env l -
swarm b -
swarm-image s MACHINE_SWARM_IMAGE
swarm-master b -
swarm-discovery s -
swarm-strategy s -
swarm-opt l -
swarm-join-opt l -
swarm-host s -
swarm-addr s -
swarm-experimental b -
tls-san l -
"""
DRIVERS: Final = {
    "digitalocean": """
digitalocean-access-token s DIGITALOCEAN_ACCESS_TOKEN
digitalocean-ssh-user s DIGITALOCEAN_SSH_USER
digitalocean-ssh-key-fingerprint s DIGITALOCEAN_SSH_KEY_FINGERPRINT
digitalocean-ssh-key-path s DIGITALOCEAN_SSH_KEY_PATH
digitalocean-ssh-port i DIGITALOCEAN_SSH_PORT
digitalocean-image s DIGITALOCEAN_IMAGE
digitalocean-region s DIGITALOCEAN_REGION
digitalocean-size s DIGITALOCEAN_SIZE
digitalocean-ipv6 b DIGITALOCEAN_IPV6
digitalocean-private-networking b DIGITALOCEAN_PRIVATE_NETWORKING
digitalocean-backups b DIGITALOCEAN_BACKUPS
digitalocean-userdata s DIGITALOCEAN_USERDATA
digitalocean-monitoring b DIGITALOCEAN_MONITORING
digitalocean-tags s DIGITALOCEAN_TAGS
""",
    "amazonec2": """
amazonec2-access-key s AWS_ACCESS_KEY_ID
amazonec2-secret-key s AWS_SECRET_ACCESS_KEY
amazonec2-session-token s AWS_SESSION_TOKEN
amazonec2-ami s AWS_AMI
amazonec2-region s AWS_DEFAULT_REGION
amazonec2-vpc-id s AWS_VPC_ID
amazonec2-zone s AWS_ZONE
amazonec2-subnet-id s AWS_SUBNET_ID
amazonec2-security-group-readonly b AWS_SECURITY_GROUP_READONLY
amazonec2-security-group l AWS_SECURITY_GROUP
amazonec2-open-port l -
amazonec2-tags s AWS_TAGS
amazonec2-instance-type s AWS_INSTANCE_TYPE
amazonec2-device-name s AWS_DEVICE_NAME
amazonec2-root-size i AWS_ROOT_SIZE
amazonec2-volume-type s AWS_VOLUME_TYPE
amazonec2-iam-instance-profile s AWS_INSTANCE_PROFILE
amazonec2-ssh-port i AWS_SSH_PORT
amazonec2-ssh-user s AWS_SSH_USER
amazonec2-request-spot-instance b -
amazonec2-spot-price s -
amazonec2-block-duration-minutes i -
amazonec2-private-address-only b -
amazonec2-use-private-address b -
amazonec2-monitoring b -
amazonec2-use-ebs-optimized-instance b -
amazonec2-ssh-keypath s AWS_SSH_KEYPATH
amazonec2-keypair-name s AWS_KEYPAIR_NAME
amazonec2-retries i -
amazonec2-endpoint s AWS_ENDPOINT
amazonec2-insecure-transport b AWS_INSECURE_TRANSPORT
amazonec2-userdata s AWS_USERDATA
""",
    "hetzner": """
hetzner-api-token s HETZNER_API_TOKEN
hetzner-image s HETZNER_IMAGE
hetzner-image-id s HETZNER_IMAGE_ID
hetzner-image-arch s HETZNER_IMAGE_ARCH
hetzner-server-type s HETZNER_TYPE
hetzner-server-location s HETZNER_LOCATION
hetzner-existing-key-id s HETZNER_EXISTING_KEY_ID
hetzner-existing-key-path s HETZNER_EXISTING_KEY_PATH
hetzner-user-data s HETZNER_USER_DATA
hetzner-user-data-from-file b HETZNER_USER_DATA_FROM_FILE
hetzner-user-data-file s HETZNER_USER_DATA_FILE
hetzner-volumes l HETZNER_VOLUMES
hetzner-networks l HETZNER_NETWORKS
hetzner-use-private-network b HETZNER_USE_PRIVATE_NETWORK
hetzner-disable-public-ipv4 b HETZNER_DISABLE_PUBLIC_IPV4
hetzner-disable-public-4 b HETZNER_DISABLE_PUBLIC_4
hetzner-disable-public-ipv6 b HETZNER_DISABLE_PUBLIC_IPV6
hetzner-disable-public-6 b HETZNER_DISABLE_PUBLIC_6
hetzner-disable-public b HETZNER_DISABLE_PUBLIC
hetzner-primary-ipv4 s HETZNER_PRIMARY_IPV4
hetzner-primary-ipv6 s HETZNER_PRIMARY_IPV6
hetzner-firewalls l HETZNER_FIREWALLS
hetzner-additional-key l HETZNER_ADDITIONAL_KEYS
hetzner-server-label l HETZNER_SERVER_LABELS
hetzner-key-label l HETZNER_KEY_LABELS
hetzner-placement-group s HETZNER_PLACEMENT_GROUP
hetzner-auto-spread b HETZNER_AUTO_SPREAD
hetzner-ssh-user s HETZNER_SSH_USER
hetzner-ssh-port i HETZNER_SSH_PORT
hetzner-wait-on-error i HETZNER_WAIT_ON_ERROR
hetzner-wait-on-polling i HETZNER_WAIT_ON_POLLING
hetzner-wait-for-running-timeout i HETZNER_WAIT_FOR_RUNNING_TIMEOUT
""",
    "scaleway": """
scaleway-token s SCALEWAY_TOKEN
scaleway-organization s SCALEWAY_ORGANIZATION
scaleway-name s SCALEWAY_NAME
scaleway-commercial-type s SCALEWAY_COMMERCIAL_TYPE
scaleway-region s SCALEWAY_REGION
scaleway-image s SCALEWAY_IMAGE
scaleway-bootscript s SCALEWAY_BOOTSCRIPT
scaleway-ip s SCALEWAY_IP
scaleway-volumes s SCALEWAY_VOLUMES
scaleway-user s SCALEWAY_USER
scaleway-port i SCALEWAY_PORT
scaleway-debug b SCALEWAY_DEBUG
scaleway-ipv6 b SCALEWAY_IPV6
""",
}
REQUIRED: Final = {
    "digitalocean": ("digitalocean-access-token",),
    "amazonec2": ("amazonec2-access-key", "amazonec2-secret-key"),
    "hetzner": ("hetzner-api-token",),
    "scaleway": ("scaleway-token", "scaleway-organization"),
}
TRUTHS: Final = {"1", "t", "T", "true", "TRUE", "True"}
LIES: Final = {"0", "f", "F", "false", "FALSE", "False"}


class Usage(Exception):
    """The command line is wrong; the message is what the real program says."""


@dataclass(frozen=True)
class Given:
    """A command line that was understood."""

    flags: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Give the last value of a flag; empty when it was not given."""
        return self.flags.get(name, [""])[-1]


def table(driver: str) -> dict[str, tuple[str, str]]:
    """List a driver's flags with the common ones: name to type and variable."""
    lines = (COMMON + DRIVERS[driver]).split("\n")
    return {name: (kind, variable) for name, kind, variable in (line.split() for line in lines if line)}


def usage(driver: str, absent: Container[str] = ()) -> Iterator[str]:
    """Say what `create --driver ... --help` says, as github.com/codegangsta/cli lays it out; `absent`: what this version lacks."""
    yield from ("Usage: docker-machine create [OPTIONS] [arg...]", "", "Create a machine", "", "Options:", "   ")
    for name, (kind, variable) in sorted(table(driver).items()):
        if name not in absent:
            value = {"b": "", "l": f" [--{name} option --{name} option]", "i": ' "0"', "s": " "}[kind]
            shown = "--driver, -d " if name == "driver" else f"--{name}{value}"
            yield f"   {shown}\t{name.replace('-', ' ')}{'' if variable == '-' else f' [${variable}]'}"


def parse(driver: str, words: Sequence[str], environment: Mapping[str, str], absent: Container[str] = ()) -> Given:
    """Read the words behind `create`; `absent`: what this version of the driver lacks. Raises Usage."""
    known = {name: flag for name, flag in table(driver).items() if name not in absent} | {"d": ("s", "-")}
    given = Given({name: [environment[var]] for name, (_, var) in known.items() if environment.get(var)})
    own: set[str] = set()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        if name not in known:
            raise Usage(f"Incorrect Usage.\n\nflag provided but not defined: -{name}")
        if not equals:
            value = value_of(name, known[name][0], rest)
        check(name, known[name][0], value)
        if name not in own or known[name][0] != "l":
            given.flags[name] = []
            own.add(name)
        given.flags[name].append(value)
    given.words.extend(rest)
    require(driver, given)
    return given


def value_of(name: str, kind: str, rest: list[str]) -> str:
    """Take the value of a flag from the words behind it."""
    if kind == "b":
        return "true"
    if not rest:
        raise Usage(f"Incorrect Usage.\n\nflag needs an argument: -{name}")
    return rest.pop(0)


def check(name: str, kind: str, value: str) -> None:
    """Refuse a value of the wrong type."""
    if kind == "i" and not value.lstrip("-").isdigit():
        raise Usage(f'Incorrect Usage.\n\ninvalid value "{value}" for flag -{name}: parse error')
    if kind == "b" and value not in TRUTHS | LIES:
        raise Usage(f'Incorrect Usage.\n\ninvalid boolean value "{value}" for -{name}: parse error')


def require(driver: str, given: Given) -> None:
    """Refuse what the driver itself refuses."""
    for name in REQUIRED[driver]:
        if not given.text(name):
            raise Usage(
                f"Error setting machine configuration from flags provided: {driver} driver requires the --{name} option"
            )
    if given.text("hetzner-image") and given.text("hetzner-image-id"):
        raise Usage(
            "Error setting machine configuration from flags provided: --hetzner-image and --hetzner-image-id are mutually exclusive"
        )
    for label in given.flags.get("hetzner-server-label", []):
        if "=" not in label:
            raise Usage(
                f"Error setting machine configuration from flags provided: server label {label} is not in key=value format"
            )
