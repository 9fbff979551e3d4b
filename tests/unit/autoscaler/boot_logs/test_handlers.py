"""boot_logs/handlers.py: reports of machines, kept and read."""

import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.messages.boot_logs import ReadBootLog, ReportBootOutput
from clusterodm.libs.common.model.values import MachineId
from tests.autoscaler_world import World


async def test_what_a_booting_machine_says_is_kept_without_its_secrets_and_outlives_the_autoscaler():
    async with World() as world:
        booting = await world.hung_in("set_up")
        token = world.autoscaler.machines.orders.token(booting).reveal()
        lines = ("Cloud-init v. 25.1", f"--token {token}")
        assert (await world.autoscaler.boot_logs.report(ReportBootOutput(machine=booting.id, lines=lines))).kept
        await world.start()
        read = await world.autoscaler.boot_logs.read(ReadBootLog(machine=booting.id))
        assert read.lines == ("Cloud-init v. 25.1", "--token ***")
        assert (read.next_line, read.ended) == (2, False)


async def test_a_machine_that_is_going_is_not_listened_to_and_its_log_stays():
    async with World() as world:
        booting = await world.hung_in("set_up")
        report = ReportBootOutput(machine=booting.id, lines=("one",))
        assert (await world.autoscaler.boot_logs.report(report)).kept
        await world.autoscaler.machines.controller.stop(booting.id, "an operator's word")
        later = ReportBootOutput(machine=booting.id, lines=("one", "two"))
        assert not (await world.autoscaler.boot_logs.report(later)).kept
        assert (await world.autoscaler.boot_logs.read(ReadBootLog(machine=booting.id))).lines == ("one",)


async def test_what_a_provider_says_of_a_creation_is_kept_without_secrets_even_when_it_has_failed():
    async with World() as world:
        machine = await world.hung_in("create")
        orders, logs = world.autoscaler.machines.orders, world.autoscaler.boot_logs
        order = orders.order(machine)
        own = order.launch.webhook_url.reveal().partition("=")[2]
        order.boot.said("(m) Creating SSH key...")
        await world.autoscaler.machines.controller.stop(machine.id, "an operator's word")
        order.boot.said(f"--token {order.launch.token.reveal()} {own}")
        read = await logs.read(ReadBootLog(machine=machine.id))
        assert read.lines == ("(m) Creating SSH key...", "--token *** ***")
        order.boot.said("last words")
        await logs.keep_said()
        assert (await logs.read(ReadBootLog(machine=machine.id, from_line=2))).lines == ("last words",)


async def test_a_containers_log_is_read_whole_again_and_again_and_each_line_kept_once():
    async with World() as world:
        machine = await world.hung_in("set_up")
        boot, logs = world.autoscaler.machines.orders.order(machine).boot, world.autoscaler.boot_logs
        boot.shows(["one"])
        await logs.keep_said()
        boot.shows(["one", "two"])
        await logs.keep_said()
        assert (await logs.read(ReadBootLog(machine=machine.id))).lines == ("one", "two")


async def test_what_cannot_be_kept_because_nats_is_away_is_kept_later():
    async with World() as world:
        machine = await world.hung_in("create")
        boot, logs = world.autoscaler.machines.orders.order(machine).boot, world.autoscaler.boot_logs
        boot.said("one")
        world.bus.connected = False
        with pytest.raises(BusFailed):
            await logs.keep_said()
        boot.said("two")
        world.bus.connected = True
        await logs.keep_said()
        assert (await logs.read(ReadBootLog(machine=machine.id))).lines == ("one", "two")


async def test_what_is_said_of_a_machine_without_a_record_is_dropped():
    async with World() as world:
        lines = world.autoscaler.boot_logs
        (world.autoscaler.machines.orders._boot_lines.of(MachineId("nobody"))).said("x")
        await lines.keep_said()
        assert world.autoscaler.machines.orders._boot_lines.machines() == []


async def test_a_machine_that_nobody_knows_has_no_log():
    async with World() as world:
        nobody = MachineId("nobody")
        assert not (await world.autoscaler.boot_logs.report(ReportBootOutput(machine=nobody, lines=("x",)))).kept
        with pytest.raises(NotFound):
            await world.autoscaler.boot_logs.read(ReadBootLog(machine=nobody))
