"""What is folded as it goes says the same as going through all records."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.machine_life.history import DAY_MS, MachineHistory
from clusterodm.services.autoscaler.machine_life.life import MachineStep, after, possible
from tests import plain_history

NOW = 1_000_000_000_000
TROUBLES = list(Trouble)
PRICES = (None, 0.05, 0.12, 3.3333333)


class Life:
    """Machines that live at random, and a history that follows."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_ms = NOW
        self.machines: dict[str, Machine] = {}
        self.history = MachineHistory()

    def goes_on(self) -> None:
        self.now_ms += self.chance.choice([0, 1, 1_000, 600_000, DAY_MS // 3])
        if not self.machines or self.chance.random() < 0.4:
            self._write(self._requested())
        machine = self.chance.choice(list(self.machines.values()))
        steps = [step for step in MachineStep if possible(machine.state, step)]
        if steps:
            step = self.chance.choice(steps)
            self._write(after(machine, step, self.now_ms, "by chance", **self._facts(machine, step)))

    def _requested(self) -> Machine:
        return Machine(
            id=MachineId(f"m{len(self.machines)}"),
            provider="test",
            region=self.chance.choice(["north", "south"]),
            size=self.chance.choice(["small", "large"]),
            price_per_hour=self.chance.choice(PRICES),
            billed_unit_ms=self.chance.choice([0, 0, 60_000, 3_600_000]),
            billed_least_ms=self.chance.choice([0, 600_000]),
            requested_at_ms=self.now_ms,
            state_at_ms=self.now_ms,
        )

    def _facts(self, machine: Machine, step: MachineStep) -> dict[str, Any]:
        if step is MachineStep.BEGIN:
            return {"called_at_ms": self.now_ms}
        if step is MachineStep.CREATED:
            return {"created_at_ms": self.now_ms}
        if step is MachineStep.READY:
            return {"online_at_ms": self.now_ms, "memory_bytes": self.chance.choice([0, 8, 16])}
        coming = machine.state in {MachineState.CREATING, MachineState.SETTING_UP}
        if step is MachineStep.STOP and coming and self.chance.random() < 0.7:
            trouble = str(self.chance.choice(TROUBLES))
            return {"failure": f"made to fail: {trouble}", "trouble": trouble, "failed_at_ms": self.now_ms}
        return {}

    def _write(self, machine: Machine) -> None:
        self.machines[machine.id] = machine
        for _ in range(self.chance.choice([1, 2])):
            self.history.take(machine)


@given(st.integers(0, 2**32), st.integers(1, 150))
def test_a_history_says_what_all_records_say(seed: int, count: int):
    life = Life(random.Random(seed))
    for _ in range(count):
        life.goes_on()
        known = list(life.machines.values())
        for key, offer in life.history.offers.items():
            of_offer = [machine for machine in known if (machine.provider, machine.region, machine.size) == key]
            assert offer.failures() == plain_history.failures(of_offer)
            assert offer.room() == plain_history.room(of_offer)
        small = [machine for machine in known if machine.size == "small"]
        assert life.history.together(["small"]).failures() == plain_history.failures(small)
        assert life.history.together().failures() == plain_history.failures(known)
        assert life.history.memories() == plain_history.memories(known)
        assert life.history.spending.of_last_day(life.now_ms) == plain_history.spent(known, life.now_ms)


def machine(name: str, **facts: Any) -> Machine:
    return Machine(id=MachineId(name), provider="test", size="small", requested_at_ms=NOW, state_at_ms=NOW, **facts)


@pytest.mark.parametrize(
    ("later_ms", "hours"),
    [
        pytest.param(0, 2.0, id="just ended"),
        pytest.param(DAY_MS - 7_200_000, 2.0, id="still wholly within the day"),
        pytest.param(DAY_MS - 3_600_000, 1.0, id="half of it has left the day"),
        pytest.param(DAY_MS, 0.0, id="gone"),
    ],
)
def test_a_machine_that_has_ended_counts_for_a_day(later_ms: int, hours: float):
    history = MachineHistory([machine("a", price_per_hour=1.0, called_at_ms=NOW, ended_at_ms=NOW + 7_200_000)])
    assert history.spending.of_last_day(NOW + 7_200_000 + later_ms) == hours * 3_600_000 * 1_000_000


def test_a_machine_that_reappears_has_no_bill_until_it_ends_again():
    gone = machine("a", price_per_hour=1.0, called_at_ms=NOW, ended_at_ms=NOW + 3_600_000, state=MachineState.GONE)
    history = MachineHistory([gone])
    history.take(msgspec.structs.replace(gone, state=MachineState.DESTROYING, ended_at_ms=None))
    assert history.spending.of_last_day(NOW + 3_600_000) == 0
    history.take(msgspec.structs.replace(gone, ended_at_ms=NOW + 7_200_000))
    assert history.spending.of_last_day(NOW + 7_200_000) == 2 * 3_600_000 * 1_000_000


def test_a_failure_is_forgotten_with_its_record():
    failed = machine("a", failure="made to fail", trouble="retryable", failed_at_ms=NOW, state=MachineState.FAILED)
    history = MachineHistory([failed])
    assert history.together().failures() == [failed]
    history.forget(failed)
    assert history.together().failures() == []
