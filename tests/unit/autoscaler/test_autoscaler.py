"""The autoscaler keeps the last demand and says plainly what it does about it."""

import pytest
import structlog.testing

from libs.common.errors import Refused
from libs.common.messages import DemandChanged, GetAutoscalerStatus, ViewCommand
from services.autoscaler.core.configuration import Configuration, Limits
from services.autoscaler.core.demand import differs, supersedes
from services.autoscaler.handlers import Autoscaler


def demand(at_ms: int, waiting: int = 0, free: int = 0, running: int = 0) -> DemandChanged:
    return DemandChanged(at_ms=at_ms, waiting_count=waiting, free_slots_count=free, running_count=running)


@pytest.mark.parametrize(
    ("new", "last", "kept"),
    [
        pytest.param(demand(1), None, True, id="the first one"),
        pytest.param(demand(2), demand(1), True, id="a newer one"),
        pytest.param(demand(1), demand(1), True, id="the same moment again"),
        pytest.param(demand(1), demand(2), False, id="one that comes late"),
    ],
)
def test_only_a_newer_snapshot_is_kept(new: DemandChanged, last: DemandChanged | None, kept: bool):
    assert supersedes(new, last) is kept


@pytest.mark.parametrize(
    ("new", "last", "news"),
    [
        pytest.param(demand(1), None, True, id="the first one"),
        pytest.param(demand(2, waiting=1), demand(1, waiting=1), False, id="only the time has changed"),
        pytest.param(demand(2, waiting=2), demand(1, waiting=1), True, id="more tasks wait"),
        pytest.param(demand(2, free=1), demand(1), True, id="a slot is free"),
        pytest.param(demand(2, running=1), demand(1), True, id="a task runs"),
    ],
)
def test_only_changed_figures_are_news(new: DemandChanged, last: DemandChanged | None, news: bool):
    assert differs(new, last) is news


async def test_the_status_shows_the_last_demand():
    autoscaler = Autoscaler(None)
    await autoscaler.take_demand(demand(2, waiting=7))
    await autoscaler.take_demand(demand(1, waiting=3))
    status = await autoscaler.get_status(GetAutoscalerStatus())
    assert (status.demand_count, status.demand_at_ms, status.enabled) == (7, 2, False)


async def test_each_change_of_demand_is_logged_once():
    autoscaler = Autoscaler(None)
    with structlog.testing.capture_logs() as lines:
        for at_ms, waiting in [(1, 1), (2, 1), (3, 2)]:
            await autoscaler.take_demand(demand(at_ms, waiting=waiting))
    assert [line["waiting"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        pytest.param(None, "no autoscaler is configured", id="no file"),
        pytest.param(
            Configuration(provider="aws", mode="api", limits=Limits(sizes=())),
            "this version starts no machines",
            id="a valid file",
        ),
    ],
)
async def test_the_command_of_a_machine_is_refused_with_the_reason(configuration: Configuration | None, sentence: str):
    autoscaler = Autoscaler(configuration)
    with pytest.raises(Refused, match=sentence):
        await autoscaler.view_command(ViewCommand(images_count=10))
    assert sentence in (await autoscaler.get_status(GetAutoscalerStatus())).reason
