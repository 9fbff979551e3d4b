"""`DockerMachineSim`: the stand-in in a directory of its own, first in PATH, for tests.

with DockerMachineSim(tmp_path / "dm", network=7) as machines:
environment["PATH"] = machines.path            # and the variables of `machines.environment`
machines.fail("create", "422 size is unavailable")
machines.order(create_s=0.5, node={"task_time_s": 0.2})
machines.rented()                              # what the provider has, which is what costs
machines.lose(name)                            # it vanishes at the provider
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final, Self

from clusterodm.libs.machinesim.docker_machine import BIN, end_node, note
from clusterodm.libs.machinesim.place import VARIABLE, Place, read_json, write_json

REPOSITORY: Final = Path(__file__).parents[2]
REAL: Final = ("bash", "awk", "grep", "cat", "sh")
RECORDED: Final = ("fallocate", "chmod", "mkswap", "swapon", "touch", "test-command")
"""Programs that do nothing but be called."""


class DockerMachineSim:
    """The directory with the program and all its machines."""

    program = "clusterodm.libs.machinesim.docker_machine"
    """What stands before `create` in the command line of its processes."""

    def __init__(self, folder: Path, network: int = 1) -> None:
        self.place = Place(folder)
        self.bin = folder / "bin"
        self._network = network

    def __enter__(self) -> Self:
        write_program(
            self.bin / "docker-machine", f'exec {sys.executable} -m clusterodm.libs.machinesim.docker_machine "$@"'
        )
        write_machine_programs(self.place, self.place.root / BIN)
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.rented().values():
            end_node(machine)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for whoever calls the program."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            VARIABLE: str(self.place.root),
            "MACHINESIM_NETWORK": str(self._network),
        }

    def rented(self) -> dict[str, dict[str, Any]]:
        """Give what the provider has, by name."""
        return {path.stem: read_json(path) or {} for path in sorted(self.place.cloud.glob("*.json"))}

    def listed(self) -> list[str]:
        """Give what docker-machine knows."""
        return sorted(path.stem for path in self.place.store.glob("*.json"))

    def calls(self, command: str = "") -> list[list[str]]:
        """Give the words of all calls of a command; none of those that only ask for its help."""
        calls = [call["words"] for call in self.place.calls()]
        return [words for words in calls if not command or (words[:1] == [command] and "--help" not in words)]

    def done(self) -> str:
        """Give what was called on machines."""
        path = self.place.root / "done.txt"
        return path.read_text() if path.exists() else ""

    def fail(self, step: str, message: str) -> None:
        """Let a step fail the next time."""
        self.place.add_failure(step, message)

    def order(self, **knobs: Any) -> None:
        """Order delays (`create_s`, `provision_s`, `ssh_s`, ...) and settings of the nodes (`node`)."""
        self.place.order(**knobs)

    def lose(self, name: str) -> None:
        """Take a machine away at the provider; docker-machine still lists it, with an error."""
        end_node(self.rented()[name])
        (self.place.cloud / f"{name}.json").unlink()

    def leak(self, name: str, driver: str) -> None:
        """Put a machine there that docker-machine knows and nobody else."""
        note(self.place, name, driver, "127.0.0.1", 1)
        write_json(self.place.cloud / f"{name}.json", {"name": name, "driver": driver, "address": "127.0.0.1"})


def write_machine_programs(place: Place, docker: Path) -> None:
    """Write the programs of machines; `docker`: the folder for Docker's."""
    on_machines = place.root / BIN
    write_program(docker / "docker", f'exec {sys.executable} -m clusterodm.libs.machinesim.docker "$@"')
    write_program(on_machines / "sudo", '[ "$1" = -E ] && shift\nexec "$@"')
    for name in RECORDED:
        write_program(on_machines / name, f'echo "$MACHINESIM_MACHINE {name} $*" >> {place.root}/done.txt')
    for name in REAL:
        (on_machines / name).symlink_to(str(shutil.which(name)))


def write_program(path: Path, line: str) -> None:
    """Write a program of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
