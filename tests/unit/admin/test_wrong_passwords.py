"""Wrong passwords are in the log and on record, whichever door they come by, and however many there are, what others did is."""

import asyncio

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.messages.operators import OPERATOR_ACTED, OperatorActed
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import ROLES, Role
from clusterodm.services.admin.login import TOLD_COUNT, LoginThrottle
from clusterodm.services.admin.signin.core import SignInFailed
from clusterodm.services.admin.signin.handlers import COUNT_EVERY_S, SignIns, failures_counted
from clusterodm.services.admin.telnet.handlers import sign_in
from tests.waiting import TurnedLoop, passed

ADDRESS = "192.0.2.7"


def signins(bus: MemoryBus) -> SignIns:
    return SignIns(bus, Passwords({Role.ADMIN: "right"}), LoginThrottle())


async def test_a_wrong_password_of_the_form_is_a_line_in_the_log():
    with capture_logs() as lines, pytest.raises(SignInFailed):
        await signins(MemoryBus()).by_password("admin", "wrong", ADDRESS)
    assert [(each["log_level"], each["address"]) for each in lines if each["event"] == "web.login_failed"] == [
        ("warning", ADDRESS)
    ]
    assert "wrong" not in str([each for each in lines if each["event"] == "web.login_failed"])


async def test_a_right_password_is_no_such_line():
    with capture_logs() as lines:
        await signins(MemoryBus()).by_password("admin", "right", ADDRESS)
    assert "web.login_failed" not in {each["event"] for each in lines}


async def test_whoever_did_not_get_in_has_no_role_on_record():
    bus = MemoryBus()
    await signins(bus).judge("admin", "wrong", ADDRESS)
    [(_, told)] = [each for each in bus.published if each[0] == OPERATOR_ACTED.name]
    assert (told.user, told.role, told.address, told.outcome) == ("", "", ADDRESS, "refused")


def test_nobody_can_be_given_no_role():
    assert set(ROLES) == {"viewer", "operator", "admin"}


MANY_COUNT = 200


async def fail(signs_in: SignIns) -> None:
    """Try wrong passwords at both doors, each from an address of its own."""
    for number in range(MANY_COUNT // 2):
        assert await signs_in.judge("admin", "wrong", f"10.0.{number}.1") is None
        assert await sign_in(signs_in.bus, signs_in.passwords, signs_in.logins, f"10.0.{number}.2", "wrong") is None


def on_record(bus: MemoryBus) -> list[OperatorActed]:
    return [told for name, told in bus.published if name == OPERATOR_ACTED.name]


async def test_of_wrong_passwords_from_many_addresses_the_number_is_on_record_and_every_act():
    bus = MemoryBus()
    signs_in = signins(bus)
    async with failures_counted(bus, signs_in.logins):
        await asyncio.sleep(0)  # for its first round, of nothing
        await fail(signs_in)
        await signs_in.by_password("admin", "right", ADDRESS)
        await sign_in(bus, signs_in.passwords, signs_in.logins, ADDRESS, "right")
        assert len(on_record(bus)) == TOLD_COUNT + 2
    *_, web, telnet, counted = told = on_record(bus)
    assert [(each.user, each.door, each.outcome) for each in (web, telnet)] == [
        ("admin", "web", "done"),
        ("admin", "telnet", "done"),
    ]
    assert {each.door for each in told[:TOLD_COUNT]} == {"web", "telnet"}
    assert (counted.user, counted.role, counted.door, counted.address) == ("", "", "", "")
    assert (counted.act, counted.outcome, counted.count) == ("SIGN IN", "refused", MANY_COUNT - TOLD_COUNT)
    assert str(counted.count) in counted.reason
    assert sum(each.count for each in told if each.outcome == "refused") == MANY_COUNT


def test_while_wrong_passwords_come_their_number_is_told_once_a_while():
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(counted_once_a_while())


async def counted_once_a_while() -> None:
    bus = MemoryBus()
    signs_in = signins(bus)
    async with failures_counted(bus, signs_in.logins):
        await asyncio.sleep(0)  # for its first round, of nothing
        await fail(signs_in)
        assert [each.count for each in on_record(bus)] == [1] * TOLD_COUNT
        await passed(COUNT_EVERY_S * 1.2, step_s=5)
        assert [each.count for each in on_record(bus)] == [1] * TOLD_COUNT + [MANY_COUNT - TOLD_COUNT]
    assert len(on_record(bus)) == TOLD_COUNT + 1, "nothing was left"
