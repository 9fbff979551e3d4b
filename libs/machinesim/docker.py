"""`docker` on a machine of the stand-in: login, ps, run. `run` starts a simulated node on the machine's address."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.machinesim.node_flags import WrongFlag, container_of, node_of, settings_of, write_private
from clusterodm.libs.machinesim.place import HELP, VARIABLE, Missing, Place, read_json, variable, write_json

MACHINE: Final = "MACHINESIM_MACHINE"
NODE_PORT: Final = 3000
USAGE: Final = f"""Usage: docker login|ps|run [arg...]

The docker on a machine of the simulated docker-machine; {VARIABLE} and {MACHINE} have to be set."""
LIFE_S: Final = 300
"""No node outlives its test by more."""


def main(words: Sequence[str]) -> int:
    """Run one command."""
    if not words or words[0] in HELP:
        print(USAGE)  # noqa: T201 what the program says
        return 0
    try:
        place, name = Place.of_environment(), variable(MACHINE, "the name of the machine on which this docker is")
    except Missing as missing:
        print(f"docker: {missing}", file=sys.stderr)  # noqa: T201 what the program says
        return 2
    return act(place, name, *words)


def act(place: Place, name: str, command: str, *rest: str) -> int:
    """Do what a command says on a machine."""
    machine = read_json(place.cloud / f"{name}.json") or {}
    if command in {"version", "--version"}:
        print("Docker version 27.0.3, build 7d4bcd8")  # noqa: T201 what the program says
        return 0
    if command == "ps":
        if rest != ("-aq", "--filter", "publish=3000"):
            return wrong(f"unknown arguments of ps: {rest}")
        if "pid" in machine:
            print("0123456789ab")  # noqa: T201 what the program says
        return 0
    if command == "login":
        machine["login"] = {"words": rest, "password": len(sys.stdin.read())}
        write_json(place.cloud / f"{name}.json", machine)
        return 0
    if command == "run":
        return run(place, machine, list(rest))
    return wrong(f"docker: '{command}' is not a docker command.")


def run(place: Place, machine: dict[str, Any], words: list[str]) -> int:
    """Start the container: the node."""
    message = place.take_failure("docker-run")
    if message is not None:
        return wrong(message)
    try:
        container, image, rest = container_of(words)
        node = node_of(rest)
    except WrongFlag as error:
        return wrong(str(error))
    time.sleep(place.knobs().get("docker-run_s", 0))
    if "pid" in (read_json(place.cloud / f"{machine['name']}.json") or {}):
        return wrong("docker: Error response from daemon: Bind for 0.0.0.0:3000 failed: port is already allocated")
    machine |= {"image": image, "container": container, "node_flags": sorted(node), "pid": start(place, machine, node)}
    write_json(place.cloud / f"{machine['name']}.json", machine)
    print("0123456789abcdef")  # noqa: T201 what the program says
    return 0


def start(place: Place, machine: dict[str, Any], node: dict[str, str]) -> int:
    """Start the node as a process of its own; its settings are in a file, for they hold secrets."""
    folder = place.root / "nodes" / machine["name"]
    settings = settings_of(node, machine["address"], NODE_PORT, folder) | place.knobs().get("node", {})
    write_private(folder / "settings.json", settings)
    process = subprocess.Popen(  # noqa: S603 our own program
        [
            "/usr/bin/timeout",
            str(LIFE_S),
            sys.executable,
            "-m",
            "clusterodm.libs.machinesim.node",
            str(folder / "settings.json"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("wb"),
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    return process.pid


def wrong(message: str) -> int:
    """Say what is wrong."""
    print(message, file=sys.stderr)  # noqa: T201 what the program says
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
