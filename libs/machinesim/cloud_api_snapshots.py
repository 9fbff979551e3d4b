"""Snapshots that a simulated cloud takes of its machines: asked for, under way for some looks, and then there or failed.

What the tests turn: `fails` (it comes to nothing, and leaves half an image where the cloud lists images from the first on), `looks_count` (how often
it is looked at before it has come to its end) and `deaf` (machines do not shut down by themselves).
"""

from dataclasses import dataclass, field

from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines

OFF: str = "off"


@dataclass(kw_only=True)
class Taken:
    """A snapshot, or one that is under way."""

    number: int
    action: int
    name: str
    machine: str
    region: str
    created_text: str
    looks_left_count: int
    failed: bool = False
    gigabytes: float = 2.5

    @property
    def is_pending(self) -> bool:
        """Whether it is under way."""
        return self.looks_left_count > 0


@dataclass(kw_only=True)
class SnapshotBook:
    """All snapshots of a cloud."""

    machines: Machines
    looks_count: int = 2
    fails: bool = False
    deaf: bool = False
    taken: list[Taken] = field(default_factory=list)

    def switch_off(self, machine: Machine, *, kindly: bool) -> None:
        """Turn a machine off, kindly or by its power."""
        if not (kindly and self.deaf):
            machine.extra[OFF] = True

    def take(self, machine: Machine, name: str) -> Taken:
        """Begin one."""
        number = 30_000 + len(self.taken)
        self.taken.append(
            Taken(
                number=number,
                action=90_000 + len(self.taken),
                name=name,
                machine=machine.number,
                region=machine.region,
                created_text=self.machines.created_text(machine),
                looks_left_count=self.looks_count,
                failed=self.fails,
            )
        )
        return self.taken[-1]

    def looked_at(self, action: int) -> Taken | None:
        """Find one by its action; it comes nearer to its end."""
        found = next((each for each in self.taken if each.action == action), None)
        if found:
            found.looks_left_count = max(0, found.looks_left_count - 1)
        return found

    def is_busy(self, machine: Machine) -> bool:
        """Whether a machine cannot go yet; to be told so is a look, too."""
        pending = [each for each in self.taken if each.machine == machine.number and each.is_pending]
        for each in pending:
            self.looked_at(each.action)
        return bool(pending)

    def finished(self) -> list[Taken]:
        """Give those that can be used."""
        return [each for each in self.taken if not each.is_pending and not each.failed]

    def delete(self, number: int) -> bool:
        """Delete one; whether there was one."""
        found = [each for each in self.taken if each.number == number]
        self.taken = [each for each in self.taken if each.number != number]
        return bool(found)
