"""The lease of a machine from end to end: what each cloud was given as user data, run against the proxy's own endpoint.

The timer's script is taken out of what the cloud has received, as cloud-init would write it, and run in a made-up machine
whose uptime is the test's and whose `poweroff` leaves a note.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.identity.core import digest
from clusterodm.services.autoscaler.orders import Order
from clusterodm.services.autoscaler.providers.core.cloud_init import BOOT, LEASE, LEASE_URL, SERVICE, TIMER
from tests.cloud_accounts import NAME, RENTALS, Rental
from tests.proxies import ProxyUnderTest, running_proxy
from tests.waiting import until

OWN = "made-up-machine-secret"
LEASE_S = 900
BOOTED = [
    "digitalocean",
    "hetzner",
    "scaleway",
    "scaleway with block storage",
    pytest.param("aws", marks=pytest.mark.slow),
]
"""Providers whose machines boot by user data. A container has none: its host stays; `command` gets the same by its input."""


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "spool", token="clients-token") as proxy:
        yield proxy


async def put(proxy: ProxyUnderTest, state: MachineState) -> None:
    """Write the machine's record, and wait until the proxy knows."""
    record = Machine(
        id=NAME, state=state, provider="any", requested_at_ms=1, state_at_ms=1, webhook_digest=digest(Secret(OWN))
    )
    await (await proxy.bus.bucket(MACHINES)).put(NAME, record)
    await until(lambda: (known := proxy.cluster.machine(MachineId(NAME))) and known.state is state)


def leased(order: Order, url: str) -> Order:
    """The order of a machine that asks there."""
    return replace(order, launch=replace(order.launch, lease_url=Secret(url), lease_s=LEASE_S))


def received(rental: Rental) -> dict[str, dict[str, Any]]:
    """The files in the user data that the cloud has got."""
    book = (rental.served.cloud if rental.served else rental.extra["api"]).machines.book
    head, _, text = book[-1].user_data.partition("\n")
    assert head == "#cloud-config"
    return {each["path"]: each for each in json.loads(text)["write_files"]}


class Booted:
    """A machine with those files."""

    def __init__(self, folder: Path, files: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        folder.mkdir()
        for name, path in (("lease.sh", LEASE), ("url", LEASE_URL)):
            (folder / name).write_text(files[path]["content"])
        off = folder / "bin" / "poweroff"
        off.parent.mkdir()
        off.write_text(f"#!/bin/sh\ntouch {folder}/off\n")
        off.chmod(0o755)

    def on_after(self, uptime_s: float) -> bool:
        """Let the timer fire; whether the machine is still on."""
        (self.folder / "uptime").write_text(f"{uptime_s} 1.0\n")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CLUSTERODM_LEASE_SEEN": str(self.folder / "seen"),
            "CLUSTERODM_LEASE_URL": str(self.folder / "url"),
            "CLUSTERODM_UPTIME": str(self.folder / "uptime"),
        }
        subprocess.run(["/bin/sh", self.folder / "lease.sh"], env=environment, check=True, timeout=30)
        return not (self.folder / "off").exists()


@pytest.mark.parametrize("kind", BOOTED)
async def test_a_machine_turns_itself_off_when_its_lease_is_not_renewed(
    kind: str, proxy: ProxyUnderTest, tmp_path: Path
):
    async with RENTALS[kind](tmp_path) as rental, rental.make() as provider:
        await provider.create(leased(rental.order, f"http://127.0.0.1:{proxy.port}/machine/lease?token={OWN}"))
        files = received(rental)
        await provider.destroy(NAME, "")
    assert files[BOOT]["content"].index("enable --now clusterodm-lease.timer") < files[BOOT]["content"].index("docker")
    assert "OnUnitActiveSec=60" in files[TIMER]["content"]
    assert f"ExecStart={LEASE}" in files[SERVICE]["content"]
    assert (files[LEASE]["permissions"], files[LEASE_URL]["permissions"]) == ("0700", "0600")
    machine = Booted(tmp_path / "machine", files)
    await put(proxy, MachineState.BUSY)
    assert await on_after(machine, 10.0)
    assert await on_after(machine, 5_000.0)
    await put(proxy, MachineState.DESTROYING)
    assert await on_after(machine, 5_060.0)
    assert await on_after(machine, 5_000.0 + LEASE_S - 1)
    assert not await on_after(machine, 5_000.0 + LEASE_S)


async def on_after(machine: Booted, uptime_s: float) -> bool:
    """The same, while the proxy of this process answers."""
    return await asyncio.to_thread(machine.on_after, uptime_s)


@pytest.mark.parametrize("kind", BOOTED)
async def test_without_a_lease_no_machine_gets_a_timer(kind: str, tmp_path: Path):
    async with RENTALS[kind](tmp_path) as rental, rental.make() as provider:
        await provider.create(unleased(rental.order))
        files = received(rental)
        await provider.destroy(NAME, "")
    assert {LEASE, LEASE_URL, SERVICE, TIMER}.isdisjoint(files)
    assert "clusterodm-lease" not in files[BOOT]["content"]


def unleased(order: Order) -> Order:
    return replace(order, launch=replace(order.launch, lease_s=0))
