"""docker-machine's stand-in in this process, over the estate of lying_provider.py; what its list shows is by its lies.

Its list is a directory of its own. What of an entry it can lie about is what it asks the provider for each time (`ls`, `status`): it may
not find yet what has just come, and a line may be missing. It can lose an entry besides (`LOST`), and writes none where a creation
dies between the provider's answer and the note of it. What it has no id of is out of its sight, and of everybody's who asks it alone.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.machinesim import docker_machine
from clusterodm.libs.machinesim.place import Place
from clusterodm.services.autoscaler.providers.adapters.programs import ProgramResult
from tests.lying_provider import Estate, Faults, Lies

LOST: Final = "entries lost"
"""Before a command is carried out, every entry of docker-machine's list is lost."""
STEPS: Final = {
    "create": ("create", "create-called", "create-rented", "create-noted"),
    "rm": ("rm", "rm-remote", "rm-removed"),
}


class DockerMachineProgram:
    """Runs docker-machine's stand-in (providers/adapters/programs.ProgramRunner); what it rents is in the estate."""

    def __init__(self, folder: Path, estate: Estate, lies: Lies, faults: Faults) -> None:
        self._place = Place(folder)
        self._estate = estate
        self._lies = lies
        self._faults = faults

    async def __call__(
        self, words: Sequence[str], *, environment: Mapping[str, str] | None = None, **_given: Any
    ) -> ProgramResult:
        command, self._place.environment = words[1], environment or {}
        if command == "ssh":
            how = self._faults.take("ssh")
            return ProgramResult(1 if how else 0, (how or "done",))
        self._order(command)
        self._to_place()
        said = io.StringIO()
        with self._late(command), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = docker_machine.main(words[1:], self._place)
        self._from_place()
        lines = said.getvalue().splitlines()
        return ProgramResult(code, tuple(line for line in lines if command != "ls" or not self._lies.leaves_out()))

    def _order(self, command: str) -> None:
        """Order what is to fail of this command."""
        for step in STEPS.get(command, (command,)):
            how = self._faults.take(f"dm-{step}")
            if how == LOST:
                self._lose_entries()
            elif how:
                self._place.add_failure(step, how)
                return

    def _lose_entries(self) -> None:
        for path in self._place.store.glob("*.json"):
            path.unlink()
        self._estate.out_of_sight |= {found.ref for found in self._estate.machines.values()}

    @contextlib.contextmanager
    def _late(self, command: str) -> Iterator[None]:
        """Let questions find nothing of what has just come; who removes it is not told so."""
        now_ms = self._estate.clock.wall_ms()
        late = [
            each
            for each in self._estate.book.values()
            if each.deleted_ms is None and not self._lies.knows(each, now_ms)
        ]
        hidden = [self._place.cloud / f"{each.found.name}.json" for each in late if command in {"ls", "status"}]
        for path in hidden:
            path.rename(path.with_suffix(".late"))
        try:
            yield
        finally:
            for path in hidden:
                path.with_suffix(".late").rename(path)

    def _rented(self) -> dict[str, Mapping[str, Any]]:
        found = {path: docker_machine.read_json(path) or {} for path in self._place.cloud.glob("*.json")}
        return {str(each["number"]): each for each in found.values()}

    def _to_place(self) -> None:
        """Take away what was deleted by the API."""
        here = {each.ref for each in self._estate.machines.values()}
        for ref, machine in self._rented().items():
            if ref not in here:
                (self._place.cloud / f"{machine['name']}.json").unlink()

    def _from_place(self) -> None:
        rented = self._rented()
        for ref, machine in rented.items():
            if ref not in self._estate.book:
                size = machine["flags"]["digitalocean-size"][0]
                self._estate.create(machine["name"], size, ref=ref, address=machine["address"])
                if not self._has_noted(machine["name"]):
                    self._estate.out_of_sight.add(ref)
        for found in self._estate.machines.values():
            if found.ref not in rented:
                self._estate.delete(found.ref)

    def _has_noted(self, name: str) -> bool:
        noted = docker_machine.read_json(self._place.store / f"{name}.json")
        return noted is not None and bool(docker_machine.number_of(noted))
