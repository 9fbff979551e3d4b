"""Wrong passwords are in the log and on record, whichever door they come by."""

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.messages.operators import OPERATOR_ACTED
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import ROLES, Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.core import SignInFailed
from clusterodm.services.admin.signin.handlers import SignIns

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
