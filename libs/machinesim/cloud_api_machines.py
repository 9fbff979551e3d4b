"""The machines that a simulated cloud has rented out: what they are, how they boot and go, and the nodes that run on them.

A machine's state follows from the time that has passed: nothing ticks. `boot_s` after it was switched on it runs;
`delete_s` after it was deleted it is gone. Its node is a simulated NodeODM on an address of its own in 127.0.0.0/8, port
3000, started when the machine is switched on, with the flags that its user data or command line gives to NodeODM.
"""

import contextlib
import random
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from libs.nodesim.testing import NodeSimProcess

NODE_PORT: Final = 3000
TRIES_COUNT: Final = 50
PASSED_ON: Final = {"--token": "token", "--webhook": "webhook", "--max_images": "max_images"}
"""Flags of NodeODM that the simulated node has too."""


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
        nodes: bool = False,
        port: int = NODE_PORT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.book: list[Machine] = []
        self._boot_s = boot_s
        self._delete_s = delete_s
        self.port = port
        self._clock = clock
        self._nodes = Nodes(port) if nodes else None

    def create(self, number: str, name: str, *, on: bool = True, **facts: Any) -> Machine:
        """Rent one out."""
        machine = Machine(number=number, name=name, created_s=self._clock(), **facts)
        machine.address = free_address(self.port, {each.address for each in self.book})
        self.book.append(machine)
        if on:
            self.switch_on(machine)
        return machine

    def switch_on(self, machine: Machine) -> None:
        """Boot it; its node starts."""
        machine.on_s = self._clock()
        if self._nodes:
            words = machine.words or node_words(machine.user_data)
            self._nodes.start(machine.number, machine.address, node_knobs(words))

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
    """The simulated nodes, each a process; they start in the background, as machines boot."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="boot")
        self._nodes: dict[str, NodeSimProcess] = {}
        self._starting: dict[str, Future[None]] = {}

    def start(self, number: str, address: str, knobs: dict[str, Any]) -> None:
        """Start the node of a machine."""
        node = NodeSimProcess(host=address, port=self._port, **knobs)
        node.hostname = address
        self._nodes[number] = node
        self._starting[number] = self._pool.submit(node.start)

    def end(self, number: str) -> None:
        """End the node of a machine, if it has one."""
        if number in self._nodes:
            self._pool.submit(self._close, self._nodes.pop(number), self._starting.pop(number))

    def close(self) -> None:
        """End all."""
        for number in list(self._nodes):
            self.end(number)
        self._pool.shutdown(wait=True)

    def _close(self, node: NodeSimProcess, starting: Future[None]) -> None:
        starting.cancel()
        with contextlib.suppress(Exception):
            starting.result()
        node.close()


def node_words(user_data: str) -> list[str]:
    """Find the flags of NodeODM in a cloud-config: the words after the image of the `docker run` in one of its files."""
    _, _, text = user_data.partition("#cloud-config\n")
    with contextlib.suppress(msgspec.DecodeError):
        files = msgspec.json.decode(text.encode(), type=dict[str, Any]).get("write_files", ())
        lines = [line for each in files for line in each["content"].splitlines() if line.startswith("docker run ")]
        return [word for line in lines for word in shlex.split(line)]
    return []


def node_knobs(words: Sequence[str]) -> dict[str, Any]:
    """Turn flags of NodeODM into settings of the simulated node."""
    given = {
        name: words[place + 1]
        for flag, name in PASSED_ON.items()
        for place in places(words, flag)
        if words[place + 1 :]
    }
    return {name: int(value) if name == "max_images" else value for name, value in given.items()}


def places(words: Sequence[str], flag: str) -> list[int]:
    """Where a flag stands."""
    return [place for place, word in enumerate(words) if word == flag]


def free_address(port: int, taken: set[str]) -> str:
    """Find an address of this computer on which nobody listens at this port."""
    for _ in range(TRIES_COUNT):
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"  # noqa: S311
        if address not in taken and is_free(address, port):
            return address
    raise RuntimeError(f"no free address for port {port}")


def is_free(address: str, port: int) -> bool:
    """Whether a port can be had there."""
    with socket.socket() as listener:
        try:
            listener.bind((address, port))
        except OSError:
            return False
    return True
