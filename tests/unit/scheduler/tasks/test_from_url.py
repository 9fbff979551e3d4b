"""A task that comes over the bus with an address is written down once, held by the first proxy that claims it, and shows no secret."""

from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused, Removed
from clusterodm.libs.common.messages.from_url import ClaimTask, SubmitFromUrl
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import (
    TaskRef,
    TaskSummary,
)
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner
from clusterodm.services.scheduler.tasks.core.masking import masked_address
from tests.scheduling import FakeNode, Play, a_play, settings, task_id

ADDRESS = "https://anne:s3cret@photos.example:8443/share/tok3n/field.zip?sig=abc"
OTHER = InstanceId("proxy-2")
MINE = InstanceId("proxy-1")


async def submits(play: Play, of: str = "one", **more: Any) -> TaskSummary:
    asked = SubmitFromUrl(**{"task": task_id(of), "name": of, "zip_url": ADDRESS} | more)
    return await play.scheduler.tasks.submit.submit_from_url(asked)


async def claims(play: Play, upload_owner: InstanceId = MINE, name: str = "one") -> Task:
    asked = ClaimTask(task=task_id(name), upload_owner=upload_owner)
    return (await play.scheduler.tasks.submit.claim(asked)).task


async def test_it_waits_for_a_proxy_and_is_placed_when_one_has_claimed_it():
    async with a_play(a=FakeNode()) as play:
        said = await submits(play, options=(OptionValue("dsm", True),), outputs=("odm_dem/dsm.tif",))
        assert (said.state, said.images_count, said.name) == (TaskState.WAITING, None, "one")
        assert await play.polls() == {}, "nobody holds it"
        task = await claims(play)
        assert (task.zip_url, task.upload_owner, task.outputs) == (ADDRESS, MINE, '["odm_dem/dsm.tif"]')
        assert isinstance((await play.polls("one"))["one"], Placed)


async def test_sent_again_it_gets_the_same_answer_and_nothing_happens_twice():
    async with a_play() as play:
        first = await submits(play)
        await claims(play)
        play.clock.pass_s(5)
        again = await submits(play)
        assert (again.id, again.committed_at_ms) == (first.id, first.committed_at_ms)
        assert [event.state for event in play.told("task.submitted")] == [TaskState.WAITING]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"zip_url": "https://photos.example/other.zip"}, id="another address"),
        pytest.param({"owner": Owner("bert")}, id="another owner"),
        pytest.param({"name": "two"}, id="another name"),
    ],
)
async def test_another_task_under_the_same_id_is_refused(more: dict[str, Any]):
    async with a_play() as play:
        await submits(play)
        with pytest.raises(Refused, match="another task's id"):
            await submits(play, **more)
        await play.commits("photos")
        with pytest.raises(Refused, match="another task's id"):
            await submits(play, "photos")


async def test_the_first_proxy_has_it_and_others_are_refused():
    async with a_play() as play:
        await submits(play)
        assert (await claims(play)).upload_owner == MINE
        with pytest.raises(Refused):
            await claims(play, OTHER)
        assert (await claims(play)).upload_owner == MINE, "asked again, as after a lost answer"


async def test_only_what_came_with_an_address_and_waits_can_be_claimed():
    async with a_play() as play:
        await play.commits("photos", upload_owner=OTHER)
        with pytest.raises(Refused):
            await claims(play, name="photos")
        await submits(play, "gone")
        await play.cancels("gone")
        with pytest.raises(Refused):
            await claims(play, name="gone")
        await submits(play, "removed")
        await play.removes("removed")
        with pytest.raises((Refused, Removed)):
            await claims(play, name="removed")
        await submits(play, "unnamed")
        with pytest.raises(Refused):
            await claims(play, InstanceId(""), "unnamed")


async def test_while_no_proxy_takes_it_its_console_says_so_and_in_the_end_it_fails():
    async with a_play() as play:
        await submits(play)
        for _ in range(3):
            await play.passes(20)
        assert any("Waiting for a proxy" in each.text for each in play.task("one").timeline)
        await play.passes(settings().holder_gone_h * 3600 + 60)
        assert play.task("one").state is TaskState.FAILED
        assert play.task("one").error.startswith("No proxy has taken it up")


async def test_who_claims_it_and_goes_away_at_once_is_waited_for_as_any_proxy_that_holds_photos():
    async with a_play() as play:
        await submits(play)
        for _ in range(3):
            await play.passes(20)
        await claims(play, OTHER)
        await play.passes(20)
        await play.passes(20)
        assert "which holds the photos and does not answer" in play.task("one").timeline[-1].text
        await play.passes(settings().holder_gone_h * 3600 + 60)
        assert play.task("one").error.startswith("Its photos are lost")


@pytest.mark.parametrize(
    ("more", "word"),
    [
        pytest.param({"zip_url": "ftp://photos.example/a.zip"}, "zip_url", id="ftp"),
        pytest.param({"zip_url": "photos.example/a.zip"}, "zip_url", id="no scheme"),
        pytest.param({"zip_url": "https:///a.zip"}, "zip_url", id="no host"),
        pytest.param({"zip_url": "https://[::1/a.zip"}, "zip_url", id="no address"),
        pytest.param({"zip_url": "https://h:99999/a.zip"}, "zip_url", id="no port"),
        pytest.param({"zip_url": "https://h/a b.zip"}, "zip_url", id="blank"),
        pytest.param({"zip_url": "https://h/a\r\nb.zip"}, "zip_url", id="two lines"),
        pytest.param({"name": " "}, "name", id="no name"),
        pytest.param({"options": (OptionValue("", 1),)}, "options", id="option without a name"),
        pytest.param({"name": "n" * 300_000}, "too long", id="too long"),
        pytest.param({"task": "1234"}, "Invalid set-uuid", id="no uuid"),
    ],
)
async def test_what_no_node_could_process_is_refused_at_once(more: dict[str, Any], word: str):
    async with a_play() as play:
        with pytest.raises(Refused, match=word):
            await submits(play, **more)
        assert not play.scheduler.state.index.tasks


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_no_answer_that_others_get_shows_more_of_an_address_than_its_host():
    async with a_play() as play:
        cluster = OptionValue("sm-cluster", "http://cluster:3000/?token=clients-token")
        said = [repr(await submits(play, options=(cluster, OptionValue("dsm", True))))]
        described = await play.scheduler.tasks.reader.describe(TaskRef(task=task_id("one")))
        assert described.task.zip_url == "https://photos.example:8443/***"
        assert described.task.options == (
            OptionValue("sm-cluster", "http://cluster:3000/***"),
            OptionValue("dsm", True),
        )
        said += [str(described.task.options), described.task.zip_url]
        await claims(play)
        canceled = await play.cancels("one")
        again = await play.cancels("one")
        restarted = await play.restarts("one")
        for task in (canceled, again, restarted):
            said += [task.zip_url, str(task.options)]
        assert not [text for text in said if "s3cret" in text or "tok3n" in text or "abc" in text or "clients" in text]
        assert play.task("one").zip_url == ADDRESS, "the record keeps it"
        assert (await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))).task.zip_url == ADDRESS


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("", ""),
        ("https://h", "https://h/***"),
        ("https://u:p@h/a?b#c", "https://h/***"),
        ("http://[::1]:80/x", "http://[::1]:80/***"),
        ("https://[::1/x", "***"),
        ("file:///etc/passwd", "***"),
        ("https://h:bad/x", "***"),
    ],
)
def test_of_an_address_the_host_is_shown(address: str, shown: str):
    assert masked_address(address) == shown
