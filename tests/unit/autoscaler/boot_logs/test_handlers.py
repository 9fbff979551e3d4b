"""boot_logs/handlers.py: reports of machines, kept and read."""

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.boot_logs import ReadBootLog, ReportBootOutput
from clusterodm.libs.common.model.values import MachineId
from tests.autoscaler_world import World


async def test_what_a_booting_machine_says_is_kept_without_its_secrets_and_outlives_the_autoscaler():
    async with World() as world:
        world.cloud.hang("set_up")
        await world.scheduler.submit("t")
        await world.turn(2)
        (booting,) = world.machines()
        token = world.autoscaler.machines.orders.token(booting).reveal()
        lines = ("Cloud-init v. 25.1", f"--token {token}")
        assert (await world.autoscaler.boot_logs.report(ReportBootOutput(machine=booting.id, lines=lines))).kept
        await world.start()
        read = await world.autoscaler.boot_logs.read(ReadBootLog(machine=booting.id))
        assert read.lines == ("Cloud-init v. 25.1", "--token ***")
        assert (read.next_line, read.ended) == (2, False)


async def test_a_machine_that_is_going_is_not_listened_to_and_its_log_stays():
    async with World() as world:
        world.cloud.hang("set_up")
        await world.scheduler.submit("t")
        await world.turn(2)
        (booting,) = world.machines()
        report = ReportBootOutput(machine=booting.id, lines=("one",))
        assert (await world.autoscaler.boot_logs.report(report)).kept
        await world.autoscaler.machines.controller.stop(booting.id, "an operator's word")
        later = ReportBootOutput(machine=booting.id, lines=("one", "two"))
        assert not (await world.autoscaler.boot_logs.report(later)).kept
        assert (await world.autoscaler.boot_logs.read(ReadBootLog(machine=booting.id))).lines == ("one",)


async def test_a_machine_that_nobody_knows_has_no_log():
    async with World() as world:
        nobody = MachineId("nobody")
        assert not (await world.autoscaler.boot_logs.report(ReportBootOutput(machine=nobody, lines=("x",)))).kept
        with pytest.raises(NotFound):
            await world.autoscaler.boot_logs.read(ReadBootLog(machine=nobody))
