"""libcloud's own dummy driver on trial: it calls nobody, so the faults are around its methods.

It names its nodes itself, which no cloud does; here it takes the name that it is given, as the interface has it.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import libcloud.compute.drivers.dummy as dummies
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError
from libcloud.compute.base import Node
from libcloud.compute.types import NodeState

from clusterodm.contract.failures import FaultPlan, How, Step
from clusterodm.contract.trial import Trial

SLOW_S = 3.0
ERRORS = {
    How.CAPACITY: BaseHTTPError(409, "No valid host was found"),
    How.LIMIT: BaseHTTPError(403, "Quota exceeded for instances"),
    How.UNAUTHORISED: InvalidCredsError(),
    How.RATE: RateLimitReachedError(),
    How.ERROR: BaseHTTPError(500, "it did not work out"),
    How.LATE: BaseHTTPError(500, "it did not work out"),
    How.BROKEN: ConnectionResetError("connection reset by peer"),
    How.LOST: ConnectionResetError("connection reset by peer"),
}


class Estate:
    """What exists, whichever driver is asked."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.number = 0
        self.plan = FaultPlan()


class NamingDummyNodeDriver(dummies.DummyNodeDriver):
    """The dummy, over an estate of its own and with faults."""

    estate: Estate

    def __init__(self, creds: str, host: str = "", **_place: Any) -> None:
        del creds
        super().__init__("0")
        self.straight = host == "straight"
        self.connection = type("NoConnection", (), {})()

    def list_nodes(self) -> list[Node]:
        return self._done(Step.LIST, lambda: list(self.estate.nodes))

    def create_node(self, name: str, size: Any, image: Any = None) -> Node:
        def create() -> Node:
            self.estate.number += 1
            address = [f"127.0.0.{self.estate.number % 250 + 1}"]
            number = str(self.estate.number)
            node = Node(number, name, NodeState.RUNNING, address, [], self, size=size, image=image)
            self.estate.nodes.append(node)
            return node

        return self._done(Step.CREATE, create)

    def destroy_node(self, node: Node) -> bool:
        def destroy() -> bool:
            self.estate.nodes = [each for each in self.estate.nodes if each.id != node.id]
            return True

        return self._done(Step.REMOVE, destroy)

    def _done(self, step: Step, work: Any) -> Any:
        how = None if self.straight else self.estate.plan.take(step)
        if how is None:
            return work()
        if how in {How.LOST, How.LATE}:
            work()
        if how is How.SLOW:
            time.sleep(SLOW_S)
            raise TimeoutError("timed out")
        if how in {How.NONSENSE, How.HOLLOW}:
            return None
        raise ERRORS[how]


@asynccontextmanager
async def dummy() -> AsyncIterator[Trial]:
    """A trial of the dummy."""
    estate = Estate()
    usual = dummies.DummyNodeDriver
    driver = type("TrialDriver", (NamingDummyNodeDriver,), {"estate": estate})
    dummies.DummyNodeDriver = driver
    keys = {"driver": "dummy", "keys": {"creds": "made-up-creds"}}
    try:
        yield Trial(
            keys=keys,
            straight=keys | {"endpoint": "http://straight"},
            faults=estate.plan,
            slug="1",
            secrets=["made-up-creds"],
            required=["driver"],
            present=lambda: [each.name for each in estate.nodes],
        )
    finally:
        dummies.DummyNodeDriver = usual
