"""The real docker-machine before stand-ins of the clouds' APIs and of their machines, for tests that else take the program's stand-in.

DOCKER_MACHINE names the program; the drivers of Hetzner and Scaleway lie beside it (docs/autoscaler.md says how all three are built).

    async with real_docker_machine("hetzner", "token", tmp_path) as machines:
        environment |= machines.environment

Nothing leaves this computer: the drivers' calls go through a proxy on loopback that plays the clouds' hosts with a certificate that the
program is told to trust, and what it does on machines over `ssh` is done by libs/machinesim/ssh.py.
"""

import asyncio
import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from clusterodm.libs.machinesim.cloud_api_ec2 import Ec2Api
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines
from clusterodm.libs.machinesim.cloud_api_testing import serving_of
from clusterodm.libs.machinesim.docker_machine import BIN, end_node
from clusterodm.libs.machinesim.place import VARIABLE as PLACE
from clusterodm.libs.machinesim.place import Place, read_json, write_json
from clusterodm.libs.machinesim.ssh import DOCKER, INSTALLED
from clusterodm.libs.machinesim.testing import REPOSITORY, write_machine_programs, write_program

VARIABLE = "DOCKER_MACHINE"
HOSTS = {"digitalocean": "api.digitalocean.com", "hetzner": "api.hetzner.cloud", "aws": "ec2.us-west-2.amazonaws.com"}
HOW = "docs/autoscaler.md says how it is built"
DRIVER_PROGRAMS = {"hetzner": "docker-machine-driver-hetzner", "scaleway": "docker-machine-driver-scaleway"}
BELOW_ROOT = ("tee", "mkdir", "sed", "grep", "cat")
"""Programs that see a machine's own /etc and /var."""
IN_PLACE = """for word; do
  shift
  case $word in /etc/*|/var/*) word="$MACHINE_ROOT$word";; esac
  set -- "$@" "$word"
done
exec {program} "$@\""""
SYSTEMCTL = """own=$MACHINE_ROOT
case "$*" in
*start*docker)
  {setsid} {python} -m clusterodm.libs.machinesim.docker_daemon "$MACHINE_ADDRESS" "$own/etc/docker" "$own/listens" \\
    </dev/null >/dev/null 2>"$own/dockerd.txt" &
  echo $! > "$own/dockerd.pid"
  for _ in 1 2 3 4 5 6 7 8 9; do test -e "$own/listens" && exit 0; {sleep} 1; done
  exit 1;;
esac"""
CALL = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps({{"words": sys.argv[1:]}}) + "\\n")
os.environ.update({variables!r})
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
"""


def real_program(provider: str = "") -> str:
    """Find the real program, with the driver of this provider; it skips the test where there is none."""
    real = shutil.which(os.environ.get(VARIABLE, "") or "/nowhere")
    if not real:
        pytest.skip(f"{VARIABLE} names no docker-machine ({HOW})")
    driver = DRIVER_PROGRAMS.get(provider)
    if driver and not Path(real).with_name(driver).exists():
        pytest.skip(f"{driver} does not lie beside {real} ({HOW})")
    return real


class OwnMachines(Machines):
    """Machines of a cloud that are directories, called by the cloud's number; what runs on one ends with it."""

    def __init__(self, place: Place, **knobs: Any) -> None:
        super().__init__(**knobs)
        self._place = place
        self.keys_of: Callable[[Machine], list[str]] = lambda _machine: []
        """Which public keys a machine lets in."""

    def switch_on(self, machine: Machine) -> None:
        """Let it be reached."""
        super().switch_on(machine)
        content = {"name": machine.number, "address": machine.address, "keys": self.keys_of(machine)}
        write_json(self._place.cloud / f"{machine.number}.json", content)

    def delete(self, machine: Machine) -> None:
        """End its node and its Docker."""
        super().delete(machine)
        path = self._place.cloud / f"{machine.number}.json"
        end_node(read_json(path) or {})
        with suppress(OSError, ValueError):
            end_node({"pid": int((self._place.root / "machines" / machine.number / "dockerd.pid").read_text())})
        path.unlink(missing_ok=True)


@dataclass
class RealDockerMachine:
    """The program, and what its cloud has; for tests alike DockerMachineSim."""

    place: Place
    program: str
    machines: OwnMachines
    endpoint: str
    """The cloud's API, for whoever asks it himself."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables for whoever calls the program."""
        return {"PATH": f"{self.place.root / 'bin'}:{os.environ['PATH']}"}

    def order(self, **knobs: Any) -> None:
        """Order settings of the nodes (`node`); delays are those of the real program."""
        self.place.order(**knobs)

    def rented(self) -> list[str]:
        """Give the names of what the cloud has, which is what costs."""
        return [each.name for each in self.machines.here()]

    def listed(self) -> list[str]:
        """Give what docker-machine knows."""
        return sorted(path.name for path in (self.place.root / "storage/machines").glob("*"))

    def calls(self, command: str = "") -> list[list[str]]:
        """Give the words of all calls of a command; none of those that only ask for its help."""
        calls = [call["words"] for call in self.place.calls()]
        return [words for words in calls if not command or (words[:1] == [command] and "--help" not in words)]

    def done(self) -> str:
        """Give what was called on machines."""
        return (self.place.root / "done.txt").read_text()


@asynccontextmanager
async def real_docker_machine(provider: str, token: str, folder: Path) -> AsyncIterator[RealDockerMachine]:
    """The real program with the cloud of a provider, whose key is `token`."""
    real = real_program(provider)
    if provider not in HOSTS:
        pytest.skip(f"the driver of {provider} speaks an older API, which no stand-in plays")
    place = Place(folder)
    machines = OwnMachines(place)
    cloud = by_ec2(machines) if provider == "aws" else by_api(provider, token, machines)
    async with cloud as url, played({HOSTS[provider]: url}, folder) as variables:
        write_programs(place, real, variables)
        try:
            yield RealDockerMachine(place, real, machines, url)
        finally:
            for machine in list(machines.here()):
                machines.delete(machine)


@asynccontextmanager
async def by_api(provider: str, token: str, machines: OwnMachines) -> AsyncIterator[str]:
    """Serve a cloud with an API of ours; where."""
    async with serving_of(provider, machines, token) as served:
        machines.keys_of = lambda machine: [
            served.kind.keys[str(number)]["public_key"] for number in machine.extra["body"]["ssh_keys"]
        ]
        yield served.url


@asynccontextmanager
async def by_ec2(machines: OwnMachines) -> AsyncIterator[str]:
    """Serve EC2; where."""
    with Ec2Api(machines) as api:
        machines.keys_of = lambda machine: [api.keys[machine.extra["key"]]]
        yield api.url


@asynccontextmanager
async def played(hosts: Mapping[str, str], folder: Path) -> AsyncIterator[dict[str, str]]:
    """Play hosts (to where they are): a proxy that answers for them with a certificate of its own; the variables that lead there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        name = head.removeprefix("CONNECT ").partition(":443 ")[0]
        assert name in hosts, head
        host, _, port = hosts[name].removeprefix("http://").partition(":")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await writer.drain()
        with suppress(OSError, ssl.SSLError):
            await writer.start_tls(context)
            there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield {"HTTPS_PROXY": address, "SSL_CERT_FILE": str(folder / "authority.pem")}
    finally:
        server.close()


def write_programs(place: Place, real: str, variables: Mapping[str, str]) -> None:
    """Write `docker-machine`, which notes each call and is the real one then, `ssh`, and what exists on machines."""
    root, on_machines = place.root, place.root / BIN
    write_machine_programs(place, root / DOCKER)
    for name in BELOW_ROOT:
        (on_machines / name).unlink(missing_ok=True)
        write_program(on_machines / name, IN_PLACE.format(program=shutil.which(name)))
    for name in ("hostname", "apt-get", "ip"):
        write_program(on_machines / name, f'echo "$MACHINESIM_MACHINE {name} $*" >> {root}/done.txt')
    write_program(
        on_machines / "systemctl",
        SYSTEMCTL.format(python=sys.executable, sleep=shutil.which("sleep"), setsid=shutil.which("setsid")),
    )
    write_program(
        on_machines / "netstat", 'test -e "$MACHINE_ROOT/listens" && echo "tcp 0 0 0.0.0.0:2376 0.0.0.0:* LISTEN"'
    )
    install = f"mkdir -p /etc/docker && {shutil.which('touch')} $MACHINE_ROOT/{INSTALLED}"
    write_program(on_machines / "curl", f"echo \"$MACHINESIM_MACHINE curl $*\" >> {root}/done.txt\necho '{install}'")
    write_program(root / "bin/ssh", f'exec {sys.executable} -m clusterodm.libs.machinesim.ssh "$@"')
    own = {
        "PATH": f"{root / 'bin'}:{Path(real).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "MACHINE_STORAGE_PATH": str(root / "storage"),
        PLACE: str(root),
        **variables,
    }
    call = CALL.format(python=sys.executable, calls=str(root / "calls.jsonl"), variables=own, real=real)
    path = root / "bin/docker-machine"
    path.write_text(call)
    path.chmod(0o755)
