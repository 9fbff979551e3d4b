"""A task whose photos lie with a proxy that does not answer: what users are told, and that it does not wait for ever."""

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.buckets import PROXIES, UPLOADS
from clusterodm.libs.common.messages.placement import NotWaiting, ReportInputsLost, Waiting
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.model.tasks import StatusCode, TaskState, Upload
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId
from clusterodm.services.scheduler.registry.proxies import upload_owner_away, upload_owner_gone
from clusterodm.services.scheduler.tasks.handlers.absence import SEEN_S
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id

GONE, NEW = InstanceId("gone"), InstanceId("new")
URL = "http://proxy-1:3000"
LOST = Proxy(instance=GONE, url=URL, host="east", spool="/data/spool", started_at_ms=1)
INSTEAD = Proxy(instance=NEW, url=URL, host="east", spool="/data/spool", started_at_ms=2)
LIMIT_H = 2.0


@pytest.mark.parametrize(
    ("url", "proxies", "line"),
    [
        pytest.param("", [], "Waiting for proxy gone, which holds the photos and does not answer", id="nothing known"),
        pytest.param(
            URL,
            [],
            f"Waiting for proxy {URL}, which holds the photos and does not answer",
            id="its upload is announced",
        ),
        pytest.param(
            "",
            [LOST],
            f"Waiting for proxy {URL}, which holds the photos and does not answer (they lie in /data/spool on east)",
            id="it has announced itself",
        ),
        pytest.param(
            "",
            [LOST, INSTEAD],
            f"Waiting for proxy {URL}, which holds the photos and does not answer (they lie in /data/spool on east)"
            "; the proxy that runs there now does not have them",
            id="another one runs at its address",
        ),
    ],
)
def test_users_are_told_which_directory_is_missing(url: str, proxies: list[Proxy], line: str):
    assert upload_owner_away(GONE, url, {proxy.instance: proxy for proxy in proxies}) == line


def test_the_proxy_itself_is_not_another_one():
    assert "runs there now" not in upload_owner_away(
        GONE, "", {GONE: LOST, NEW: Proxy(**{**fields(INSTEAD), "url": "x"})}
    )


def test_a_failed_task_says_what_is_lost_in_one_sentence():
    words = upload_owner_gone(GONE, "", {GONE: LOST}, 24)
    assert words.startswith("Its photos are lost: they lay in /data/spool on east (proxy http://proxy-1:3000)")
    assert "24 h" in words
    assert "with proxy gone" in upload_owner_gone(GONE, "", {}, 24)


def fields(proxy: Proxy) -> dict[str, object]:
    return {name: getattr(proxy, name) for name in proxy.__struct_fields__}


async def is_away(play: Play) -> None:
    """Commit a task of a proxy that never asks, beside one that is there, until that is noticed."""
    await play.commits("lost", upload_owner=GONE)
    await play.commits("held", upload_owner=UPLOAD_OWNER)
    await play.adds("a", FakeNode(slots=2))
    await play.starts("held")
    for _ in range(4):
        await play.passes(16)
    assert play.task("lost").upload_owner_away_since_ms


async def test_a_task_whose_upload_owner_does_not_come_back_fails_with_one_sentence():
    async with a_play(chosen=settings(holder_gone_h=LIMIT_H)) as play:
        await (await play.bus.bucket(PROXIES)).put(GONE, LOST)
        await is_away(play)
        await play.passes(LIMIT_H * 3600 - 120)
        assert play.task("lost").state is TaskState.WAITING
        await play.passes(240)
        assert play.task("lost").state is TaskState.FAILED
        assert "/data/spool on east" in play.task("lost").error
        assert await play.asks("lost", GONE) == NotWaiting(state=TaskState.FAILED)
        assert play.task("held").state is TaskState.RUNNING


async def test_a_restart_of_the_scheduler_does_not_begin_the_wait_anew():
    async with a_play(chosen=settings(holder_gone_h=LIMIT_H)) as play:
        await is_away(play)
        await play.passes(LIMIT_H * 3600 / 2)
        await play.starts_up()
        await play.probes()
        await play.passes(16)
        await play.passes(16)
        await play.passes(LIMIT_H * 3600 / 2 + 120)
        assert play.task("lost").state is TaskState.FAILED


async def test_an_upload_owner_that_comes_back_in_time_goes_on_with_its_task():
    async with a_play(chosen=settings(holder_gone_h=LIMIT_H)) as play:
        await is_away(play)
        await play.is_placed("lost", GONE)
        assert play.task("lost").upload_owner_away_since_ms == 0
        await play.passes(LIMIT_H * 3600 + 120)
        assert play.task("lost").state is not TaskState.FAILED


async def test_a_clock_that_jumps_fails_no_task():
    async with a_play(chosen=settings(holder_gone_h=LIMIT_H)) as play:
        await is_away(play)
        play.clock.step_wall_s(1_000 * 3600)
        await play.passes(60)
        assert play.task("lost").state is TaskState.WAITING


async def test_the_console_names_the_directory():
    async with a_play() as play:
        await (await play.bus.bucket(PROXIES)).put(GONE, LOST)
        await (await play.bus.bucket(UPLOADS)).put(
            task_id("lost"), Upload(task=task_id("lost"), instance=GONE, url=URL, created_at_ms=1)
        )
        await is_away(play)
        assert any("/data/spool on east" in moment.text for moment in play.task("lost").timeline)


# --- an upload owner that is there, without the photos ------------------------------------------------------------------------


async def says_that_they_are_not_there(play: Play, upload_owner: InstanceId = UPLOAD_OWNER) -> None:
    await play.scheduler.tasks.absent_proxies.inputs_lost(
        ReportInputsLost(task=task_id("one"), upload_owner=upload_owner)
    )


async def test_a_task_that_was_removed_after_the_backup_fails_with_a_sentence():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused, match="others may still join"):
            await says_that_they_are_not_there(play)
        assert play.task("one").state is TaskState.WAITING
        await play.passes(settings().node_grace_s)
        await says_that_they_are_not_there(play)
        assert play.task("one").state is TaskState.FAILED
        assert "after the backup" in play.task("one").error


async def test_a_scheduler_that_is_restarted_again_and_again_does_not_begin_the_wait_anew():
    async with a_play() as play:
        await play.commits("one")
        waited_s = 0.0
        while waited_s < settings().node_grace_s:
            with pytest.raises(Refused, match="others may still join"):
                await says_that_they_are_not_there(play)
            await play.passes(SEEN_S)
            waited_s += SEEN_S
            await play.starts_up()
        with pytest.raises(Refused, match="others may still join"):  # it has asked no node yet
            await says_that_they_are_not_there(play)
        await play.passes(SEEN_S)
        await says_that_they_are_not_there(play)
        assert play.task("one").state is TaskState.FAILED


async def test_a_clock_that_jumps_ends_no_wait_for_a_node():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused):
            await says_that_they_are_not_there(play)
        play.clock.step_wall_s(1_000 * 3600)
        with pytest.raises(Refused):
            await says_that_they_are_not_there(play)
        assert play.task("one").state is TaskState.WAITING


async def test_its_user_reads_that_photos_are_missing_and_until_when_a_node_is_waited_for():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused):
            await says_that_they_are_not_there(play)
        for _ in range(4):  # its proxy asks for nothing meanwhile: it has nothing to send
            play.clock.pass_s(16)
            await play.sweeps()
        told = [moment.text for moment in play.task("one").timeline]
        assert any("does not have its photos" in line and "within 120 s" in line for line in told), told
        assert not any("does not answer" in line or "trying again" in line for line in told), told


async def test_a_task_without_photos_is_placed_nowhere_while_it_may_still_be_found():
    async with a_play() as play:
        await play.commits("one")
        await play.commits("two")
        with pytest.raises(Refused, match="others may still join"):
            await says_that_they_are_not_there(play)
        await play.adds("a", FakeNode(slots=1))
        await play.starts("two")
        assert play.task("two").state is not TaskState.WAITING
        assert play.task("one").state is TaskState.WAITING


async def test_a_scheduler_that_starts_places_no_task_of_which_it_is_known_that_it_has_no_photos():
    async with a_play() as play:
        await play.commits("one")
        await play.adds("a", FakeNode(slots=1))
        with pytest.raises(Refused, match="others may still join"):
            await says_that_they_are_not_there(play)
        await play.starts_up()
        await play.probes()
        assert isinstance(await play.asks("one"), Waiting)


async def test_a_task_that_was_completed_after_the_backup_is_found_on_its_node():
    async with a_play() as play:
        await play.commits("one")
        node = FakeNode()
        node.takes(NodeTaskId(task_id("one")))
        node.finishes(NodeTaskId(task_id("one")))
        await play.adds("a", node)
        await play.adds("b", FakeNode(up=False))
        await says_that_they_are_not_there(play)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED


async def test_a_task_is_found_on_a_node_that_joins_within_the_grace():
    async with a_play() as play:
        await play.commits("one")
        node = FakeNode()
        node.takes(NodeTaskId(task_id("one")))
        node.finishes(NodeTaskId(task_id("one")))
        with pytest.raises(Refused):
            await says_that_they_are_not_there(play)
        await play.adds("a", node)
        await says_that_they_are_not_there(play)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED


@pytest.mark.parametrize("knows", ["that it runs", "that it waits"])
async def test_a_task_that_was_canceled_on_its_node_after_the_backup_is_canceled(knows: str):
    async with a_play() as play:
        node, one = FakeNode(), NodeTaskId(task_id("one"))
        await play.commits("one")
        if knows == "that it runs":
            await play.adds("a", node)
            await play.starts("one")
        else:
            node.takes(one)
        node.says(one, code=StatusCode.CANCELED)
        if knows == "that it waits":
            await play.adds("a", node)
        await says_that_they_are_not_there(play)
        await play.looks()
        assert play.task("one").state is TaskState.CANCELED


async def test_a_task_that_runs_goes_on_without_them_and_gets_no_other_attempt():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await says_that_they_are_not_there(play)
        assert (play.task("one").state, play.task("one").inputs_kept) == (TaskState.RUNNING, False)
        play.node("a").tasks.pop(placed.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.FAILED


async def test_only_the_upload_owner_says_so():
    async with a_play() as play:
        await play.commits("one")
        with pytest.raises(Refused):
            await says_that_they_are_not_there(play, GONE)
        assert play.task("one").state is TaskState.WAITING
