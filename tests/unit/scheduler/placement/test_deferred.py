"""The whole scheduler, in memory, with a fast and a slow node: what a proxy is told whose task is deferred."""

from clusterodm.libs.common.messages.placement import Waiting
from tests.scheduling import FakeNode, Play, a_play, settings

TOOK_MS = {"fast": 60_000, "slow": 240_000}
IMAGES = 100


async def works_for_a_while(play: Play) -> None:
    """Complete two tasks on each node."""
    for names in (("one", "two"), ("three", "four")):
        for name in names:
            await play.commits(name, images=IMAGES)
        for name in names:
            placed = await play.starts(name)
            node = play.node(placed.node.hostname)
            node.says(placed.node_task_id, processing_time_ms=TOOK_MS[placed.node.hostname])
            node.finishes(placed.node_task_id)
        await play.looks()
        await play.probes()


async def test_a_proxy_hears_why_its_task_waits_although_a_node_is_free_and_gets_the_fast_one_next():
    async with a_play(fast=FakeNode(), slow=FakeNode()) as play:
        await works_for_a_while(play)
        await play.commits("first", images=IMAGES)
        running = await play.starts("first")
        assert running.node.hostname == "fast"
        await play.commits("second", images=IMAGES)
        await play.passes(31)
        async with play.polling():
            await play.sweeps()
        answer = await play.asks("second")
        assert isinstance(answer, Waiting)
        assert (
            answer.reason == "it should end earlier on a faster node that is busy now than on slow:3000, which is free"
        )
        assert play.task("second").timeline[-1].text == f"Waiting for a node: {answer.reason}"
        play.node("fast").says(running.node_task_id, processing_time_ms=TOOK_MS["fast"])
        play.node("fast").finishes(running.node_task_id)
        await play.looks()
        assert (await play.is_placed("second")).node.hostname == "fast"


async def test_its_console_says_why_though_its_upload_owner_has_no_question_open_when_the_reason_is_noted():
    async with a_play(fast=FakeNode(), slow=FakeNode()) as play:
        await works_for_a_while(play)
        for name in ("first", "second"):
            await play.commits(name, images=IMAGES)
        await play.starts("first")
        assert isinstance(await play.asks("second"), Waiting)
        await play.passes(31)
        await play.sweeps()
        assert (
            "on a faster node that is busy now than on slow:3000, which is free"
            in play.task("second").timeline[-1].text
        )


async def test_a_task_takes_the_slow_node_when_the_fast_one_is_late_for_too_long():
    async with a_play(fast=FakeNode(), slow=FakeNode()) as play:
        await works_for_a_while(play)
        for name in ("first", "second"):
            await play.commits(name, images=IMAGES)
        await play.starts("first")
        assert isinstance(await play.asks("second"), Waiting)
        await play.passes(TOOK_MS["slow"] / 1000)
        await play.probes()
        assert (await play.is_placed("second")).node.hostname == "slow"


async def test_with_the_order_of_the_original_no_task_is_held_back():
    async with a_play(chosen=settings(placement="original"), fast=FakeNode(), slow=FakeNode()) as play:
        await works_for_a_while(play)
        for name in ("first", "second"):
            await play.commits(name, images=IMAGES)
        nodes = {(await play.starts(name)).node.hostname for name in ("first", "second")}
        assert nodes == {"fast", "slow"}


async def test_speeds_are_known_again_after_a_restart():
    async with a_play(fast=FakeNode(), slow=FakeNode()) as play:
        await works_for_a_while(play)
        await play.starts_up()
        await play.probes()
        for name in ("first", "second"):
            await play.commits(name, images=IMAGES)
        assert (await play.is_placed("first")).node.hostname == "fast"
        assert isinstance(await play.asks("second"), Waiting)
