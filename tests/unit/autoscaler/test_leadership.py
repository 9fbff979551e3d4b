"""An autoscaler without a configuration answers only while nobody leads."""

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.health import LEADER_ANSWERS, LeaderAnswers
from clusterodm.libs.common.messages.machines import FIND_RESULT, GET_AUTOSCALER_STATUS, FindResult, GetAutoscalerStatus
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.settings.fields import Settings
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.autoscaler.commands import NOT_CONFIGURED, NotConfigured
from clusterodm.services.autoscaler.leadership import NoLeader, while_nobody_leads
from clusterodm.services.autoscaler.server import SERVICE, registered_without


async def test_alone_it_says_that_there_is_none():
    bus = MemoryBus()
    no_leader = NoLeader(bus, SERVICE)
    await no_leader.observe()
    async with registered_without(bus, NotConfigured(), Health("autoscaler", dict), no_leader, Settings()):
        assert (await bus.request(GET_AUTOSCALER_STATUS, GetAutoscalerStatus())).reason == NOT_CONFIGURED


async def test_beside_one_that_leads_it_is_silent():
    bus = MemoryBus()
    no_leader = NoLeader(bus, SERVICE)
    async with bus.lead(SERVICE, "another"):
        await no_leader.observe()
        async with registered_without(bus, NotConfigured(), Health("autoscaler", dict), no_leader, Settings()):
            with pytest.raises(BusFailed):
                await bus.request(FIND_RESULT, FindResult(node_task_id=NodeTaskId("t"), asset="all.zip"))


async def test_one_that_begins_to_lead_is_heard_at_once():
    bus = MemoryBus()
    async with while_nobody_leads(bus, SERVICE) as no_leader:
        for owner, epoch in (("scheduler", 7), (SERVICE, 0)):
            await bus.publish(LEADER_ANSWERS, LeaderAnswers(owner=owner, epoch=epoch))
        assert no_leader.valid
        await bus.publish(LEADER_ANSWERS, LeaderAnswers(owner=SERVICE, epoch=8))
        assert not no_leader.valid


async def test_between_two_terms_it_stays_silent():
    bus = MemoryBus()
    no_leader = NoLeader(bus, SERVICE)
    async with bus.lead(SERVICE, "another"):
        await no_leader.observe()
    await no_leader.observe()
    assert not no_leader.valid


async def test_when_nobody_has_led_for_a_while_it_answers_again():
    bus = MemoryBus()
    no_leader = NoLeader(bus, SERVICE, between_terms_s=0.0)
    async with bus.lead(SERVICE, "another"):
        await no_leader.observe()
    await no_leader.observe()
    assert no_leader.valid


async def test_without_nats_it_goes_by_what_it_has_seen():
    bus = MemoryBus()
    no_leader = NoLeader(bus, SERVICE)
    async with bus.lead(SERVICE, "another"):
        await no_leader.observe()
        bus.connected = False
        await no_leader.observe()
        assert not no_leader.valid
