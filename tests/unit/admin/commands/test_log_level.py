"""LOG LEVEL is told to all, or is unavailable; who gave it is on record."""

import pytest

from clusterodm.libs.common.messages.operators import LOG_LEVEL_SET, OPERATOR_ACTED, LogLevelSet, OperatorActed
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.roles import Principal, Role, acting
from clusterodm.services.admin.commands.core.answers import Ok, Unavailable
from clusterodm.services.admin.commands.core.commands import SetLogLevelCommand
from clusterodm.services.admin.commands.handlers.execute import execute


async def test_a_level_is_told_to_every_process():
    bus, heard = MemoryBus(), list[LogLevelSet]()

    async def hears(told: LogLevelSet) -> None:
        heard.append(told)

    async with bus.subscribe(LOG_LEVEL_SET, hears):
        assert await execute(bus, SetLogLevelCommand("debug", "proxy")) == Ok()
    assert heard == [LogLevelSet(level="debug", service="proxy")]


async def test_without_nats_nobody_is_told():
    bus = MemoryBus()
    bus.connected = False
    assert await execute(bus, SetLogLevelCommand("debug")) == Unavailable("NATS does not answer.")


@pytest.mark.parametrize(
    ("role", "outcome"),
    [pytest.param(Role.VIEWER, "refused", id="viewer"), pytest.param(Role.OPERATOR, "done", id="operator")],
)
async def test_who_set_which_level_is_on_record(role: Role, outcome: str):
    bus, told = MemoryBus(), list[OperatorActed]()

    async def hears(act: OperatorActed) -> None:
        told.append(act)

    acting.set(Principal("ann", role, "web", "192.0.2.7"))
    async with bus.subscribe(OPERATOR_ACTED, hears):
        await execute(bus, SetLogLevelCommand("debug", "proxy"))
    assert [(act.user, act.act, act.target, act.outcome) for act in told] == [
        ("ann", "LOG LEVEL", "debug proxy", outcome)
    ]
