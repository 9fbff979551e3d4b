"""How long NATS is known to be away."""

import pytest

from clusterodm.libs.common.bus.connection import Absence
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
