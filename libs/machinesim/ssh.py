"""`ssh` as docker-machine calls it, before machines of a simulated cloud: each is a directory, and commands run on this computer.

The real docker-machine takes the first `ssh` in PATH. This one finds the machine by its address, lets in whoever has the private half
of a key that the cloud was given for it, and runs the command in a shell whose PATH is the machine's own few programs, with
the machine's `/etc` below its directory. Docker is among the programs once it was installed.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.machinesim.docker_machine import BIN
from clusterodm.libs.machinesim.place import Missing, Place, read_json

WITH_VALUE: Final = ("-F", "-o", "-i", "-p", "-l")
DOCKER: Final = "docker-bin"
"""Folder with Docker's program, for machines that have it."""
INSTALLED: Final = "docker-installed"
"""The file below a machine's directory that says that it has Docker."""
REPOSITORY: Final = Path(__file__).parents[2]
REFUSED: Final = 255
SECONDS: Final = 20


def main(words: Sequence[str]) -> int:
    """Run one command on a machine; its code."""
    try:
        place = Place.of_environment()
    except Missing as missing:
        return refuse(f"ssh: {missing}", 2)
    host, key, command = parsed(words)
    machine = next((each for each in machines(place) if each.get("address") == host), None)
    if machine is None:
        return refuse(f"ssh: connect to host {host} port 22: No route to host")
    if public_half(key) not in {half(each) for each in machine.get("keys", ())}:
        return refuse(f"{host}: Permission denied (publickey).")
    return run(place, machine, command)


def parsed(words: Sequence[str]) -> tuple[str, str, str]:
    """Take a command line apart: the host, the file with the private key, the command as the machine's shell gets it."""
    left, host, key = list(words), "", ""
    while left and (left[0].startswith("-") or not host):
        word = left.pop(0)
        if word in WITH_VALUE and left:
            value = left.pop(0)
            key = value if word == "-i" else key
        elif not word.startswith("-"):
            host = word.rpartition("@")[2]
    return host, key, " ".join(left)


def machines(place: Place) -> list[dict[str, Any]]:
    """Read what the cloud has: of each its `name`, `address`, and the public `keys` that it lets in."""
    return [read_json(path) or {} for path in sorted(place.cloud.glob("*.json"))]


def public_half(key: str) -> str:
    """Make the public half of a private key; empty: it is none."""
    made = subprocess.run(  # noqa: S603 openssh's own, which whoever has ssh has as well
        ["/usr/bin/ssh-keygen", "-y", "-f", key], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return half(made.stdout)


def half(text: str) -> str:
    """Leave the comment of a public key away."""
    return " ".join(text.split()[:2])


def run(place: Place, machine: dict[str, Any], command: str) -> int:
    """Run a command in the machine's shell."""
    own = folder_of(place, machine["name"])
    programs = [place.root / BIN, *([place.root / DOCKER] if (own / INSTALLED).exists() else [])]
    environment = {
        "PATH": ":".join(map(str, programs)),
        "HOME": str(own),
        "MACHINE_ROOT": str(own),
        "MACHINESIM_DIR": str(place.root),
        "MACHINESIM_MACHINE": machine["name"],
        "MACHINE_ADDRESS": machine["address"],
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.run(["/bin/sh", "-c", command], env=environment, cwd=own, check=False).returncode  # noqa: S603 a test's own words


def folder_of(place: Place, name: str) -> Path:
    """Make a machine's directory, a fresh Ubuntu, if it is not there."""
    own = place.root / "machines" / name
    if not (own / "etc").exists():
        (own / "etc").mkdir(parents=True)
        (own / "etc/os-release").write_text('NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n')
        (own / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return own


def refuse(line: str, code: int = REFUSED) -> int:
    """Say what is wrong."""
    print(line, file=sys.stderr)  # noqa: T201 what the program says
    return code


if __name__ == "__main__":
    os.umask(0o077)
    raise SystemExit(main(sys.argv[1:]))
