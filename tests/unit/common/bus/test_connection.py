"""How long NATS is known to be away, and what it says of us."""

import nats.errors
import pytest

from clusterodm.libs.common.bus.connection import Absence
from clusterodm.libs.common.bus.rights import NatsDenials
from clusterodm.libs.common.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("steps", "lasts_s"),
    [
        pytest.param("", 0, id="it was never away"),
        pytest.param("pass begins", 0, id="what passed before it was noticed does not count"),
        pytest.param("begins pass", 0, id="nobody has tried to reach it since"),
        pytest.param("begins pass goes_on pass", 5, id="until the last try"),
        pytest.param("begins pass goes_on pass goes_on", 10, id="every try that fails makes it longer"),
        pytest.param("begins pass goes_on ends", 0, id="it is back"),
        pytest.param("goes_on pass goes_on", 0, id="other trouble while it is there"),
        pytest.param("begins pass goes_on ends pass begins", 0, id="it begins from nothing again"),
    ],
)
def test_an_absence_lasts_from_its_notice_to_the_last_try_that_failed(steps: str, lasts_s: float):
    clock = FakeClock()
    absence = Absence(clock)
    for step in steps.split():
        if step == "pass":
            clock.pass_s(5)
        else:
            getattr(absence, step)()
    assert absence.lasts_s == lasts_s


REFUSED = nats.errors.Error("nats: 'Authorization Violation'")


@pytest.mark.parametrize("broken", [ConnectionResetError(104, "reset"), BrokenPipeError(), nats.errors.UnexpectedEOF()])
def test_a_connection_that_breaks_after_a_refusal_takes_nothing_of_it_back(broken: Exception):
    denials = NatsDenials()
    denials.heard(REFUSED)
    denials.heard(broken)
    assert denials.reason == "it refuses the user or the password"


@pytest.mark.parametrize("away", [ConnectionRefusedError(111, "refused"), TimeoutError(), nats.errors.TimeoutError()])
def test_a_server_that_is_out_of_reach_now_is_not_said_to_refuse(away: Exception):
    denials = NatsDenials()
    denials.heard(REFUSED)
    denials.heard(away)
    assert denials.reason == ""


def test_that_a_right_is_refused_is_told_once_a_minute():
    clock = FakeClock()
    denials = NatsDenials(clock.instant)
    right = 'Permissions Violation for Publish to "$KV.tasks.a"'
    told = []
    for after_s in (0.0, 1.0, 58.0, 1.0, 59.0):
        clock.pass_s(after_s)
        told.append(denials.heard(nats.errors.Error(f"nats: {right!r}")))
    assert told == [right, "", "", right, ""]
    assert denials.heard(REFUSED) == "", "a password is another matter"
