"""A provider in memory, whose failures are ordered beforehand. It remembers what was asked of it.

    cloud = Cloud()
    cloud.fail("create", Trouble.OUT_OF_CAPACITY)     # the next creation, and nothing comes of it
    cloud.lose_answer("create")                       # the next creation is carried out, its answer is lost
    cloud.hang("set_up")                              # the next set-up never returns
    cloud.machines                                    # what exists (and costs) now
    cloud.created                                     # every name that was ever created, in order

It knows nothing of the services: it takes and gives whatever has a `name`, and is handed the types to answer with.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from clusterodm.libs.common.errors import ProviderFailed, Trouble

Found = Callable[..., Any]


@dataclass(frozen=True)
class Removed:
    """What came of a removal."""

    was_there: bool
    gone_ago_s: float | None = 0.0
    unseen: str = ""

    def __bool__(self) -> bool:
        return self.was_there


class Cloud:
    """Machines that exist because somebody has created them."""

    def __init__(self, found: Found) -> None:
        self.machines: dict[str, Any] = {}
        self.created: list[str] = []
        self.destroyed: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self._found = found
        self._orders: dict[str, deque[Callable[[], Any]]] = defaultdict(deque)
        self._after: dict[str, deque[Callable[[], Any]]] = defaultdict(deque)
        self._address = 1
        self.leaving: dict[str, str] = {}
        self.ghosts: list[Any] = []
        """What the list shows besides, although it is not there (any more)."""

    # --- what tests order ------------------------------------------------------------------------------------------

    def fail(self, call: str, trouble: Trouble = Trouble.RETRYABLE, message: str = "made to fail") -> None:
        """Let the next such call fail before it does anything."""
        self._orders[call].append(lambda: _raise(ProviderFailed(message, trouble)))

    def lose_answer(self, call: str, trouble: Trouble = Trouble.UNKNOWN_OUTCOME) -> None:
        """Let the next such call do its work and then fail: with an unknown outcome, or with a lie."""
        self._after[call].append(lambda: _raise(ProviderFailed("the answer was lost", trouble)))

    def hang(self, call: str, *, after: bool = False) -> None:
        """Let the next such call never return: before its work, or after it."""
        (self._after if after else self._orders)[call].append(asyncio.Event().wait)

    def leak(self, name: str, **facts: Any) -> None:
        """Put a machine there that nobody has created."""
        self.machines[name] = self._found(**{"name": name, "ref": f"ref-{name}", "address": "127.0.0.1", **facts})

    def lose(self, name: str) -> None:
        """Take a machine away."""
        self.machines.pop(name)

    # --- what the autoscaler asks ----------------------------------------------------------------------------------

    async def check(self) -> None:
        """Everything is fine."""

    async def create(self, order: Any) -> Any:
        """Create a machine once."""
        await self._before("create", order.name)
        if order.name not in self.machines:
            self.created.append(order.name)
            self._address += 1
            address = f"127.0.0.{self._address}"
            self.machines[order.name] = self._found(name=order.name, ref=f"ref-{order.name}", address=address)
        await self._afterwards("create")
        return self.machines[order.name]

    async def set_up(self, order: Any, found: Any) -> Any:
        """Do nothing but what is ordered."""
        await self._before("set_up", order.name)
        await self._afterwards("set_up")
        return self.machines.get(order.name, found)

    async def inspect(self, name: str, ref: str = "") -> Any:
        """Look one up."""
        del ref
        await self._before("inspect", name)
        return self.machines.get(name)

    async def list(self, prefix: str) -> list[Any]:
        """List by prefix."""
        await self._before("list", prefix)
        ghosts = [each for each in self.ghosts if each.name.startswith(prefix)]
        return [self._listed(name) for name in self.machines if name.startswith(prefix)] + ghosts

    async def destroy(self, name: str, ref: str) -> Any:
        """Destroy a machine; one that is not there is destroyed. True when there was one."""
        del ref
        await self._before("destroy", name)
        was_there = self.machines.pop(name, None) is not None
        if was_there:
            self.destroyed.append(name)
        await self._afterwards("destroy")
        return Removed(was_there)

    async def discard(self, found: Any) -> None:
        """Remove one thing that only the list shows."""
        await self._before("discard", found.name)
        self.ghosts = [each for each in self.ghosts if each != found]

    async def command(self, order: Any) -> str:
        """Show what would be done."""
        return f"create {order.name}"

    def _listed(self, name: str) -> Any:
        return replace(self.machines[name], leaving=self.leaving.get(name, ""))

    async def _before(self, call: str, name: str) -> None:
        self.calls.append((call, name))
        await asyncio.sleep(0)
        await _obey(self._orders[call])

    async def _afterwards(self, call: str) -> None:
        await _obey(self._after[call])


async def _obey(orders: "deque[Callable[[], Any]]") -> None:
    if orders:
        result = orders.popleft()()
        if asyncio.iscoroutine(result):
            await result


def _raise(error: Exception) -> None:
    raise error
