"""Whose task is next, where there are tenants: by weight, and by priority. Start-time fair queueing, counted in images.

Each owner has a clock of its own, which goes on with each slot that it gets: by the images of the task, divided by its weight. The owner is next whose clock
would be behind the others when half of its next task is done (if its beginning counted, those with small weights would always be ahead of their shares, if its
end, behind); of two that are equal the one with the older task. So owners that wait share what is there as their weights say, whatever
sizes their tasks have; one that comes anew, or again, begins at what the clocks show then, and has neither credit nor debt. One owner alone is served in the
order of its commits.

A higher priority goes first: the tenant's, and what an operator has given to the task besides. Of one owner's tasks those of the higher priority are next, then
the older ones (records/core.py: place_of). A task that an operator has raised is paid for by its owner: its clock goes on as ever, and the time that the others
are measured by does not, so that later they go first until they have caught up. So what is raised comes sooner, and nobody's share is another. Every tenth slot (`OPEN_EVERY`) goes by the clocks alone, and of those of lower priorities the clocks stand still
meanwhile: so nobody starves, whatever others do. Owners of one priority have one time (`_now`).

What is kept: the clocks that are ahead of their time, one for each owner that was served a moment ago.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner
from clusterodm.services.scheduler.records.core import Key, place_of

OPEN_EVERY: Final = 10
KEPT_COUNT: Final = 4096
"""With so many clocks, those that are not ahead of their time are forgotten."""
USUAL_IMAGES_COUNT: Final = 100
"""What a task counts whose images are not known."""

Turn = tuple[int, float]
"""Sort key: the smaller, the sooner."""
NOBODYS: Final[Turn] = (0, 0.0)
"""Where there are no tenants."""


class FairShares:
    """The shares, and how far each owner has come."""

    def __init__(self) -> None:
        self._shares: dict[Owner, TenantShare] = {}
        self._clocks: dict[Owner, float] = {}
        self._now: dict[int, float] = {}
        """By priority: where the clock of the last one served stood."""
        self._served_count = 0
        self.version = 0
        """Grows with every change."""

    def __repr__(self) -> str:
        """Show how many."""
        return f"FairShares({len(self._shares)} tenants, {len(self._clocks)} clocks)"

    def __bool__(self) -> bool:
        """Whether there are any: otherwise the oldest task is next, whoever's it is."""
        return bool(self._shares)

    def copy(self) -> "FairShares":
        """Make another that goes on from here by itself: to think ahead with."""
        other = FairShares()
        other._shares, other._clocks, other._now = self._shares, dict(self._clocks), dict(self._now)
        other._served_count = self._served_count
        return other

    def put(self, shares: Iterable[TenantShare]) -> None:
        """Take in shares."""
        self._shares.update((share.owner, share) for share in shares)
        self.version += 1

    def limit_count(self, owner: Owner) -> int:
        """Say how many tasks an owner may have under way; 0: any number."""
        share = self._shares.get(owner)
        return share.tasks_at_once_count if share else 0

    def name_of(self, owner: Owner) -> str:
        """Say how an owner is called; empty: nobody has given it a name."""
        share = self._shares.get(owner)
        return share.name if share else ""

    @property
    def are_limited(self) -> bool:
        """Whether any owner has a limit of its own."""
        return any(share.tasks_at_once_count for share in self._shares.values())

    def turn(self, task: Task, *, is_open: bool | None = None) -> Turn:
        """Say when an owner is next, of whose tasks this is the first. `is_open`: by the clocks alone; None: as it is now."""
        if not self._shares:
            return NOBODYS
        if is_open is None:
            is_open = self.is_open
        return (0 if is_open else -self.priority(task), self._middle(task))

    def priority(self, task: Task) -> int:
        """Say how high a task's priority is: its tenant's, and its own."""
        return self._priority(task.owner) + task.priority

    def why(self, task: Task) -> str:
        """Say why a task is where it is in the order; empty: by its commit alone."""
        share, priority = self._shares.get(task.owner), self.priority(task)
        whose = share.name or "its owner" if share else ""
        raised = f" (its own {task.priority:+})" if task.priority and priority != task.priority else ""
        said = (
            f"priority {priority:+}{raised}" if priority or task.priority else "",
            f"weight {share.weight} of {whose}" if share else "",
            "moved up" if task.queued_at_ms else "",
        )
        return ", ".join(filter(None, said))

    def _middle(self, task: Task) -> float:
        """Say where the clock of its owner stands when half of a task is done."""
        middle = self._clocks.get(task.owner, 0.0) + self._price(task) / 2
        return max(middle, self._now.get(self._priority(task.owner), 0.0))

    def served(self, task: Task) -> None:
        """Let the clock of an owner that got a slot go on."""
        if not self._shares:
            return
        owner, priority = task.owner, self._priority(task.owner)
        begins = self._middle(task) - self._price(task) / 2
        self._clocks[owner] = begins + self._price(task)
        if task.priority <= 0:
            self._now[priority] = max(begins, self._now.get(priority, 0.0))
        self._served_count += 1
        self.version += 1
        if len(self._clocks) > KEPT_COUNT:
            self._forget()

    def gave_back(self, task: Task) -> None:
        """Let the clock of an owner go back that got a slot and has not used it."""
        if task.owner in self._clocks:
            self._clocks[task.owner] -= self._price(task)
            self.version += 1

    def _price(self, task: Task) -> float:
        share = self._shares.get(task.owner)
        images_count = USUAL_IMAGES_COUNT if task.images_count is None else max(1, task.images_count)
        return images_count / (share.weight if share else 1)

    @property
    def is_open(self) -> bool:
        """Whether the next slot goes by the clocks alone."""
        return self._served_count % OPEN_EVERY == OPEN_EVERY - 1

    def _priority(self, owner: Owner) -> int:
        share = self._shares.get(owner)
        return share.priority if share else 0

    def _forget(self) -> None:
        """Forget the clocks that say no more than the time does."""
        self._clocks = {
            owner: clock for owner, clock in self._clocks.items() if clock > self._now.get(self._priority(owner), 0.0)
        }


class OwnersInTurn:
    """Owners in the order in which they are served, each with its next task, while the clocks go on.

    Whoever is put there has a turn by the clocks of that moment. So the first is looked at again when it comes up, and all are when the next slot
    goes by the clocks alone, or no longer.
    """

    def __init__(self, shares: FairShares) -> None:
        self._shares = shares
        self._is_open = shares.is_open
        self._next: dict[Owner, Task] = {}
        self._heap: list[tuple[Turn, Key, Owner]] = []

    def __repr__(self) -> str:
        """Show how many."""
        return f"OwnersInTurn({len(self._next)} owners)"

    def __len__(self) -> int:
        return len(self._next)

    def put(self, owner: Owner, task: Task) -> None:
        """Let an owner that is not there take its turn with a task."""
        self._next[owner] = task
        heappush(self._heap, self._turn(owner))

    def pop(self) -> Owner:
        """Take out whose turn it is. Raises IndexError when nobody is there."""
        if self._shares.is_open is not self._is_open:
            self._is_open = not self._is_open
            self._heap = [self._turn(owner) for owner in self._next]
            heapify(self._heap)
        while (found := self._heap[0]) != (now := self._turn(found[-1])):
            heapreplace(self._heap, now)
        del self._next[heappop(self._heap)[-1]]
        return found[-1]

    def _turn(self, owner: Owner) -> tuple[Turn, Key, Owner]:
        task = self._next[owner]
        return self._shares.turn(task), place_of(task), owner
