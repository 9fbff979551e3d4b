"""Which refusals for lack of a role are put on record."""

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.refused import MOST_COUNT, REPORT_AGAIN_S, VISITORS_COUNT, ReportedRefusals
from clusterodm.services.admin.access.roles import NEEDS_ROLE, Principal, Role, acting, reported
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.handlers.execute import execute, publish_act
from clusterodm.services.admin.tenants.core.commands import RevokeToken
from clusterodm.services.admin.tenants.handlers import TenantActs

NOW = Instant(1000.0)


def visitor(number: int = 1) -> Principal:
    return Principal("viewer", Role.VIEWER, "web", f"10.0.{number // 250}.{number % 250}")


def test_a_refusal_is_told_once_and_again_after_a_while() -> None:
    told = ReportedRefusals()
    assert [told.is_new(visitor(), "POST", "/a", NOW) for _ in range(3)] == [True, False, False]
    assert told.is_new(visitor(), "POST", "/b", NOW)
    assert told.is_new(visitor(2), "POST", "/a", NOW)
    assert not told.is_new(visitor(), "POST", "/a", Instant(NOW + REPORT_AGAIN_S - 1))
    assert told.is_new(visitor(), "POST", "/a", Instant(NOW + REPORT_AGAIN_S))


def test_a_flood_of_different_refusals_is_told_in_part() -> None:
    told = ReportedRefusals()
    assert sum(told.is_new(visitor(), "POST", f"/{number}", NOW) for number in range(500)) == MOST_COUNT


def test_no_more_visitors_are_remembered_than_may_be() -> None:
    told = ReportedRefusals()
    for number in range(VISITORS_COUNT + 1):
        told.is_new(visitor(number), "POST", "/a", NOW)
    assert told.is_new(visitor(0), "POST", "/a", NOW)
    assert not told.is_new(visitor(VISITORS_COUNT), "POST", "/a", NOW)


async def test_a_refusal_by_any_command_is_put_on_record_once_a_while(bus: MemoryBus) -> None:
    tokens = acting.set(visitor()), reported.set(ReportedRefusals())
    try:
        for _ in range(5):
            await execute(bus, commands.UpdateNodesCommand())
            await execute(bus, commands.AddNodeCommand("a", 1))
            with pytest.raises(Refused, match=NEEDS_ROLE):
                await TenantActs(bus, None).do(RevokeToken("x"))
    finally:
        acting.reset(tokens[0])
        reported.reset(tokens[1])
    assert [told.act for _, told in bus.published] == ["NODE UPDATE", "NODE ADD", "TOKEN REVOKE"]


async def test_other_refusals_and_acts_are_each_put_on_record(bus: MemoryBus) -> None:
    token = reported.set(ReportedRefusals())
    try:
        for outcome, reason in [("done", ""), ("refused", "there is no such node")] * 3:
            await publish_act(bus, visitor(), "NODE LOCK", "number 1", outcome, reason)
    finally:
        reported.reset(token)
    assert len(bus.published) == 6


async def test_what_is_put_on_record_is_no_longer_than_people_read(bus: MemoryBus) -> None:
    await execute(bus, commands.AddNodeCommand("x" * 100_000, 3000))
    await execute(bus, commands.DestroyMachineCommand(name="x" * 100_000))
    await publish_act(bus, visitor(), "x" * 100_000, "x" * 100_000, "refused", "x" * 100_000)
    longest = [max(len(told.act), len(told.target), len(told.reason)) for _, told in bus.published]
    assert len(longest) == 3
    assert max(longest) == 500
