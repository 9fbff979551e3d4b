"""What a console shows of the addresses that it names: nothing that opens something."""

import pytest

from clusterodm.libs.common.messages.tasks import ReadConsole, TaskRef
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.services.scheduler.tasks.core.masking import masked_line
from tests.scheduling import FakeNode, a_play, task_id

CLUSTER = "http://cluster:3000/?token=a-tenants"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"sm_cluster: {CLUSTER}", "sm_cluster: http://cluster:3000/***"),
        (f"['{CLUSTER}', 'x']", "['http://cluster:3000/***', 'x']"),
        ("at http://other/info?token=s&x=1 now", "at http://other/info?*** now"),
        ("https://user:pass@host/path", "https://***@host/path"),
        ("see https://docs.opendronemap.org/faq#a", "see https://docs.opendronemap.org/faq#a"),
        ("50% of 10 images? yes", "50% of 10 images? yes"),
    ],
)
def test_a_line_shows_of_addresses_what_opens_nothing(line: str, shown: str):
    assert masked_line(line, [CLUSTER]) == shown


async def test_no_console_that_leaves_over_the_bus_has_a_clients_token():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", options=(OptionValue("sm-cluster", CLUSTER),))
        placed = await play.starts("one")
        play.node("a").console[placed.node_task_id] = [f"sm_cluster: {CLUSTER}", f"GET {CLUSTER}&x=1"]
        for _ in range(3):
            play.clock.pass_s(6)
            await play.looks()
        reader = play.scheduler.tasks.reader
        console = await reader.read_console(ReadConsole(task=task_id("one")))
        assert any("cluster:3000/***" in line for line in console.lines)
        told = [*console.lines, repr(await reader.describe(TaskRef(task=task_id("one"))))]
        assert not [line for line in told if "a-tenants" in line]
