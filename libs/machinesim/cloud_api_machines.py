"""The machines that a simulated cloud has rented out: what they are, how they boot and go, and the nodes that run on them.

A machine's state follows from the time that has passed: nothing ticks. `boot_s` after it was switched on it runs;
`delete_s` after it was deleted it is gone. Its node is a simulated NodeODM on an address of its own in 127.0.0.0/8, port
3000, started when the machine is switched on, with the flags that its user data or command line gives to NodeODM; with
`--s3_*` it puts its results into that bucket.

What a machine says while it boots is sent to where its user data says, as the script in it would send it; of a container it is its log.
"""

import contextlib
import random
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from clusterodm.libs.machinesim.node_flags import WrongFlag, container_of, node_of, settings_of, write_private

NODE_PORT: Final = 3000
TRIES_COUNT: Final = 50
END_S: Final = 10.0
DOCKER_RUN: Final = ("docker", "run")
LINES: Final = (
    "Cloud-init v. 25.1 running 'modules:final'",
    "Docker is there already",
    "latest: Pulling from opendronemap/nodeodm",
    "Status: Downloaded newer image for opendronemap/nodeodm:latest",
    "ended with code 0",
)
CONTAINER_LINES: Final = (
    "info: Authentication using token",
    "info: Initialized 0 tasks",
    "info: Server has started on port 3000",
)
"""What a container of NodeODM writes until it answers."""
OUTPUT_URL: Final = "/output-url"
ANSWER_S: Final = 5.0


@dataclass(kw_only=True)
class Machine:
    """A rented machine."""

    number: str
    name: str
    size: str = ""
    region: str = ""
    image: str = ""
    tags: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    user_data: str = ""
    words: list[str] = field(default_factory=list)
    """Flags of its node, where they do not come by user data."""
    address: str = ""
    created_s: float
    on_s: float | None = None
    """When it was switched on; None: it stands still."""
    deleted_s: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """What only one kind of cloud knows."""


class Machines:
    """All machines of a cloud, the deleted ones too: what was paid for stays in the book."""

    def __init__(
        self,
        *,
        boot_s: float = 0.0,
        delete_s: float = 0.0,
        nodes: Mapping[str, Any] | None = None,
        port: int = NODE_PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`nodes`: settings of the nodes that run on them; None: no nodes."""
        self.book: list[Machine] = []
        self._boot_s = boot_s
        self._delete_s = delete_s
        self.port = port
        self._clock = clock
        self._clock_began_s = time.time() - clock()  # noqa: TID251 what APIs tell; read once, so that no answer moves
        self._nodes = Nodes(port, nodes) if nodes is not None else None

    def create(self, number: str, name: str, *, on: bool = True, **facts: Any) -> Machine:
        """Rent one out."""
        machine = Machine(number=number, name=name, created_s=self._clock(), **facts)
        machine.address = free_address(self.port, {each.address for each in self.book})
        self.book.append(machine)
        if on:
            self.switch_on(machine)
        return machine

    def preview(self, name: str, **facts: Any) -> Machine:
        """Say what one would be; none is rented out."""
        return Machine(number="", name=name, created_s=self._clock(), **facts)

    def switch_on(self, machine: Machine) -> None:
        """Boot it; its node starts."""
        machine.on_s = self._clock()
        if self._nodes:
            self._nodes.start(machine)
            tell(files_of(machine.user_data), self._boot_s)

    def delete(self, machine: Machine) -> None:
        """Delete it; its node ends at once."""
        if machine.deleted_s is None:
            machine.deleted_s = self._clock()
        if self._nodes:
            self._nodes.end(machine.number)

    def here(self) -> Iterator[Machine]:
        """Give those that exist."""
        return (machine for machine in self.book if not self.is_gone(machine))

    def find(self, number: str) -> Machine | None:
        """Find one that exists."""
        return next((machine for machine in self.here() if machine.number == number), None)

    def created_ms(self, machine: Machine) -> int:
        """When it was rented out, by the wall clock; the same in each answer."""
        return round((self._clock_began_s + machine.created_s) * 1000)

    def created_text(self, machine: Machine) -> str:
        """When it was rented out, as APIs write it."""
        return datetime.fromtimestamp(self.created_ms(machine) / 1000, tz=UTC).isoformat()

    def is_running(self, machine: Machine) -> bool:
        """Whether it has booted."""
        return machine.on_s is not None and self._clock() - machine.on_s >= self._boot_s

    def is_gone(self, machine: Machine) -> bool:
        """Whether it was deleted and has vanished."""
        return machine.deleted_s is not None and self._clock() - machine.deleted_s >= self._delete_s

    def close(self) -> None:
        """End all nodes."""
        if self._nodes:
            self._nodes.close()


class Nodes:
    """The simulated nodes, each a process that ends with this one; its settings lie in a file, for they hold secrets."""

    def __init__(self, port: int, knobs: Mapping[str, Any]) -> None:
        self._port = port
        self._knobs = dict(knobs)
        self._folder = tempfile.TemporaryDirectory(prefix="cloud-nodes-", ignore_cleanup_errors=True)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, machine: Machine) -> None:
        """Start the node of a machine; with flags that NodeODM does not know, nothing comes up."""
        folder = Path(self._folder.name) / machine.number.replace("/", "-")
        try:
            node = node_of(machine.words or node_words(machine.user_data))
            settings = settings_of(node, machine.address, self._port, folder)
        except WrongFlag as error:
            print(f"no node on {machine.name}: {error}", file=sys.stderr)  # noqa: T201 what its console would show
            return
        write_private(folder / "settings.json", settings | {"exit_with_stdin": True} | self._knobs)
        with (folder / "stderr.txt").open("wb") as log:
            self._nodes[machine.number] = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "clusterodm.libs.machinesim.node", str(folder / "settings.json")],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def end(self, number: str) -> None:
        """End the node of a machine, if it has one, as a machine ends that is switched off."""
        if process := self._nodes.pop(number, None):
            process.kill()
            process.wait(END_S)
            if process.stdin:
                process.stdin.close()

    def close(self) -> None:
        """End all."""
        for number in list(self._nodes):
            self.end(number)
        self._folder.cleanup()


def node_words(user_data: str) -> list[str]:
    """Find the flags of NodeODM in a cloud-config: the words after the image of `docker run` in its files. Raises WrongFlag."""
    for line in (line for content in files_of(user_data).values() for line in content.splitlines()):
        words = shlex.split(line) if line.startswith(" ".join(DOCKER_RUN)) else []
        if words:
            return container_of(words[len(DOCKER_RUN) :])[2]
    return []


def files_of(user_data: str) -> dict[str, str]:
    """Give the files of a cloud-config: path to content; none where it is no such thing."""
    _, _, text = user_data.partition("#cloud-config\n")
    with contextlib.suppress(msgspec.DecodeError):
        found = msgspec.json.decode(text.encode(), type=dict[str, Any]).get("write_files", ())
        return {each["path"]: each["content"] for each in found}
    return {}


def free_address(port: int, taken: set[str]) -> str:
    """Find an address of this computer on which nobody listens at this port."""
    for _ in range(TRIES_COUNT):
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"  # noqa: S311
        if address not in taken and is_free(address, port):
            return address
    raise RuntimeError(f"port {port} is taken on every address: does a cluster run on this computer? stop it meanwhile")


def is_free(address: str, port: int) -> bool:
    """Whether a port can be had there."""
    with socket.socket() as listener:
        try:
            listener.bind((address, port))
        except OSError:
            return False
    return True


def container_lines(*, running: bool) -> tuple[str, ...]:
    """Give what a container has written: the last line when its node answers."""
    return CONTAINER_LINES if running else CONTAINER_LINES[:-1]


def tell(files: Mapping[str, str], boot_s: float) -> None:
    """Say something more five times while it boots, if there is anybody to be told. `files`: path to content."""
    url = next((content for path, content in files.items() if path.endswith(OUTPUT_URL)), "")
    if url:
        threading.Thread(target=told, args=(url, boot_s), daemon=True).start()


def told(url: str, boot_s: float) -> None:
    """Send all lines so far, again and again."""
    for count in range(1, len(LINES) + 1):
        text = "".join(f"{line}\n" for line in LINES[:count])
        request = urllib.request.Request(f"{url}&from_line=0", text.encode(), method="POST")  # noqa: S310 - as the user data says
        with contextlib.suppress(OSError):  # the next time it says all of it again
            urllib.request.urlopen(request, timeout=ANSWER_S).close()  # noqa: S310
        time.sleep(boot_s / len(LINES))
