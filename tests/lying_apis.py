"""Clouds' own APIs in simulated time, whose lists lie: vendors speak to them in this process, over HTTP without a socket.

cloud = LyingApi("hetzner", clock, lies)     the truth, and the bill; what `/v1/servers` shows is by the lies
vendor = cloud.vendor()                      ours, in front of it
cloud.order([("create", "late"), ...])       failures, by the words of libs/machinesim/cloud_api.py
"""

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.machinesim.cloud_api import Kind
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines
from clusterodm.libs.machinesim.cloud_api_testing import made
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.ports import Vendor
from tests.autoscaler_world import SIZES
from tests.cloud_accounts import PATIENT_S, WEB
from tests.lying_provider import Lies

SLUGS: Final = {
    "digitalocean": ("s-1vcpu-1gb", "s-4vcpu-8gb"),
    "hetzner": ("cx21", "cx43"),
    "scaleway": ("PLAY2-NANO", "GP1-XS"),
    "docker": ("one", "another"),
    "aws": ("t2.medium", "t2.xlarge"),
}
ANSWERS: Final = ("rate", "unauthorised", "error", "late", "lost")
CREATION: Final = ("capacity", "limit", *ANSWERS)
_STEPS: Final = {
    "digitalocean": ("get",),
    "hetzner": ("get", "images"),
    "scaleway": ("get", "action", "cloud-init", "get-images", "get-volumes", "patch-volume", "delete-volume"),
    "docker": ("start", "images"),
    "aws": ("DescribeImages", "DescribeSubnets", "DescribeSecurityGroups"),
}
asked: ContextVar[str] = ContextVar("asked", default="")
"""Which call is being answered."""


def faults_of(kind: str) -> list[tuple[str, str]]:
    """List every failure at every step."""
    return [
        *(("create", how) for how in CREATION),
        *((step, how) for step in ("list", "delete", *_STEPS[kind]) for how in ANSWERS),
    ]


@dataclass(frozen=True)
class There:
    """A machine that exists."""

    address: str


class LyingMachines(Machines):
    """The machines of a cloud; whoever lists them, or looks for one by its id, is told lies."""

    def __init__(self, clock: FakeClock, lies: Lies) -> None:
        super().__init__(clock=lambda: clock.wall_ms() / 1000)
        self._now_ms = clock.wall_ms
        self._lies = lies

    def create(self, number: str, name: str, *, on: bool = True, **facts: Any) -> Machine:
        """Rent one out; its address is nobody's."""
        machine = Machine(number=number, name=name, created_s=self._clock(), **facts)
        machine.address = f"127.0.1.{len(self.book) + 1}"
        self.book.append(machine)
        if on:
            self.switch_on(machine)
        return machine

    def created_ms(self, machine: Machine) -> int:
        """When it was rented out, by the clock of the world."""
        return round(machine.created_s * 1000)

    def here(self) -> Iterator[Machine]:
        """Give those that exist, or what is told of them."""
        match asked.get():
            case "list":
                return (each for each in self.book if self._lies.shows(*times_of(each), self._now_ms()))
            case "get":
                return (each for each in super().here() if self._lies.finds(*times_of(each), self._now_ms()))
            case _:
                return super().here()


def times_of(machine: Machine) -> tuple[int, int | None]:
    """When it came and went."""
    gone_ms = None if machine.deleted_s is None else round(machine.deleted_s * 1000)
    return round(machine.created_s * 1000), gone_ms


class InProcess(httpx.AsyncBaseTransport):
    """The way to it."""

    def __init__(self, app: Any, kind: Kind) -> None:
        self._app = httpx.ASGITransport(app)
        self._kind = kind

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        token = asked.set(self._kind.verb(request.method, request.url.path))
        try:
            return await self._app.handle_async_request(request)
        finally:
            asked.reset(token)


class LyingApi:
    """One cloud: what exists, and what it has cost."""

    def __init__(self, kind: str, clock: FakeClock, lies: Lies) -> None:
        self.kind = kind
        self.clock = clock
        self._rented = LyingMachines(clock, lies)
        self._cloud, self._api = made(kind, self._rented)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """What is rented there."""
        return tuple(replace(size, slug=slug) for size, slug in zip(SIZES, SLUGS[self.kind], strict=True))

    @property
    def region(self) -> str:
        """Where it is rented."""
        return WEB[self.kind][2]

    @property
    def machines(self) -> dict[str, There]:
        """What exists, by name."""
        return {each.name: There(each.address) for each in self._rented.here()}

    @property
    def left(self) -> list[str]:
        """Everything that costs: machines, and disks without one."""
        disks = [each["name"] for each in getattr(self._api, "disks", ()) if not each["server"]]
        return [*self.machines, *disks]

    def caused_ms(self, name: str) -> int | None:
        """For how long all machines of a name have existed; None: none ever did."""
        times = [times_of(each) for each in self._rented.book if each.name == name]
        now_ms = self.clock.wall_ms()
        return sum((now_ms if gone_ms is None else gone_ms) - came_ms for came_ms, gone_ms in times) if times else None

    def vendor(self) -> Vendor:
        """Make ours."""
        make, own, _, _ = WEB[self.kind]
        network = "odm" if self.kind == "docker" else ""  # there a container has an address of its own
        settings = CloudSettings(endpoint="http://cloud", network=network, **own)
        return make(settings, InProcess(self._cloud.app, self._api), PATIENT_S)

    def order(self, ordered: Sequence[tuple[str, str]]) -> None:
        """Order failures, each to happen once."""
        for step, how in ordered:
            self._cloud.fail(step, how)
