"""The state files of an installation of the original ClusterODM, read and checked. Pure: text in, values out.

    data/nodes.json    [{"hostname", "port" (string or number), "token"?, "locked"?, "dockerMachine"?}]
    data/routes.json   {"<task uuid>": {"node": {"hostname", "port", "token"?}, "token"?, "accessed" (ms)}}

Everything is checked before anything is taken over, and every mistake gets a line of its own that names the entry. Tokens
are read, and never repeated in a mistake.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.hosts import FORMS, bare, is_host, shown
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.values import TASK_ID, Owner, TaskId
from clusterodm.libs.common.untrusted import read_json
from clusterodm.services.admin.commands.core.command_numbers import port as port_of

ROUTE_LIFE_MS: Final = 5 * 24 * 3600 * 1000
"""The original forgets a route that nobody has asked for so long."""

Address = tuple[str, int]


@dataclass(frozen=True)
class OldNode:
    """A node of the installation."""

    hostname: str
    port: int
    token: str = field(default="", repr=False)
    locked: bool = False
    is_machine: bool = False
    """Rented by the autoscaler."""

    @property
    def address(self) -> Address:
        """What two nodes never share."""
        return self.hostname.lower(), self.port


@dataclass(frozen=True)
class OldRoute:
    """A task that the installation had sent to a node."""

    task: TaskId
    node: Address
    owner: Owner
    accessed_ms: int

    def expired(self, at_ms: int) -> bool:
        """Whether the original would have forgotten it."""
        return at_ms - self.accessed_ms > ROUTE_LIFE_MS


@dataclass
class FileReader:
    """What was found in one file."""

    name: str
    mistakes: list[str] = field(default_factory=list)

    def mistake(self, entry: str, text: str) -> None:
        """Note what is wrong."""
        self.mistakes.append(f"{self.name}: {entry}: {text}" if entry else f"{self.name}: {text}")

    def content(self, text: str, kind: type, called: str) -> Any:
        """Decode the file; an empty `kind` when it is not what it has to be."""
        try:
            found = read_json(text)
        except ValueError as error:
            self.mistake("", f"not JSON: {error}")
            return kind()
        if not isinstance(found, kind):
            self.mistake("", f"holds no {called}")
            return kind()
        return found


def read_nodes(name: str, text: str) -> tuple[list[OldNode], list[str]]:
    """Read nodes.json: the nodes, and a line per mistake."""
    reading = FileReader(name)
    found = [
        node
        for place, entry in enumerate(reading.content(text, list, "list of nodes"), start=1)
        if (node := read_node(reading, f"entry {place}", entry)) is not None
    ]
    for twice in duplicates(node.address for node in found):
        reading.mistake("", f"{shown(*twice)} stands there more than once")
    return found, reading.mistakes


def read_node(reading: FileReader, entry: str, value: Any) -> OldNode | None:
    """Read one node."""
    address = read_address(reading, entry, value)
    if address is None:
        return None
    return OldNode(
        hostname=bare(value["hostname"]),
        port=address[1],
        token=read_token(reading, entry, value),
        locked=value.get("locked") is True,
        is_machine=bool(value.get("dockerMachine")),
    )


def read_address(reading: FileReader, entry: str, value: Any) -> Address | None:
    """Read hostname and port of an object."""
    if not isinstance(value, dict):
        reading.mistake(entry, "is no object")
        return None
    hostname, port = value.get("hostname"), value.get("port")
    number = port_of(str(port)) if isinstance(port, str | int) and not isinstance(port, bool) else None
    valid_name = isinstance(hostname, str) and is_host(bare(hostname))
    if not valid_name:
        reading.mistake(entry, f"hostname {hostname!a} is none: {FORMS}")
    if number is None:
        reading.mistake(entry, f"port {port!r} is none (1 to 65535)")
    return (bare(str(hostname)).lower(), number) if valid_name and number else None


def read_token(reading: FileReader, entry: str, value: dict[str, Any]) -> str:
    """Read the token of an object, where there is one."""
    token = value.get("token")
    if token is not None and not isinstance(token, str):
        reading.mistake(entry, "token is no text")
        return ""
    return token or ""


def read_routes(name: str, text: str) -> tuple[list[OldRoute], list[str]]:
    """Read routes.json: the routes, and a line per mistake."""
    reading = FileReader(name)
    found = [
        route
        for task, entry in reading.content(text, dict, "object of routes").items()
        if (route := read_route(reading, task, entry)) is not None
    ]
    return found, reading.mistakes


def read_route(reading: FileReader, task: str, value: Any) -> OldRoute | None:
    """Read one route."""
    entry = f"route {task}"
    if not TASK_ID.fullmatch(task):
        reading.mistake(entry, "is no task id")
        return None
    if not isinstance(value, dict):
        reading.mistake(entry, "is no object")
        return None
    address = read_address(reading, f"{entry}: node", value.get("node"))
    accessed = value.get("accessed", 0)
    if not isinstance(accessed, int | float) or isinstance(accessed, bool) or not math.isfinite(accessed):
        reading.mistake(entry, f"accessed {accessed!r} is no number")
        return None
    if address is None:
        return None
    return OldRoute(TaskId(task), address, owner_of(read_token(reading, entry, value)), int(accessed))


def duplicates(addresses: Iterable[Address]) -> list[Address]:
    """Find what comes more than once."""
    seen: set[Address] = set()
    twice: dict[Address, None] = {}
    for address in addresses:
        (twice.setdefault(address) if address in seen else seen.add(address))
    return list(twice)
