"""What the greeter is told: where the cluster is, which nodes to register, how to speak of it."""

import msgspec

from clusterodm.libs.common.hosts import LOOPBACK, bracketed


class NodeAddress(msgspec.Struct, frozen=True):
    """A node to register at the start."""

    hostname: str
    port: int
    token: str = ""

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"NodeAddress({self.hostname}:{self.port})"


class GreetingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the greeter has to do and to say."""

    nats_url: str
    scheme: str
    host: str = LOOPBACK
    """Where this computer reaches the address for clients."""
    port: int
    secure_port: int = 0
    admin_host: str = LOOPBACK
    admin_cli_port: int = 0
    admin_web_port: int = 0
    with_token: bool = False
    own_ports: list[int] = []
    """Of proxies that share the port for clients: each of them must answer."""
    several: dict[str, int] = {}
    """Services of which there are several, and how many."""
    left_behind: list[str] = []
    """Spools that hold uploads, but no proxy any more."""
    data_dir: str
    nodes: list[NodeAddress] = []
    simulated_count: int = 0
    gone: list[NodeAddress] = []
    """Simulated nodes of an earlier run that are on other ports now."""
    program: str = "clusterodm"
    flags: str = ""
    """What the operator's words need to find this cluster."""


def reachable(bind: str) -> str:
    """Name the address at which this computer reaches a service that listens on `bind`."""
    return {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(bind, bind)  # noqa: S104 nothing is bound here


def shown(host: str) -> str:
    """Write a host as it stands in a URL for the user."""
    return "localhost" if host in {LOOPBACK, "::1"} else bracketed(host)
