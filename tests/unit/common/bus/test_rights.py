"""Which rights NATS refuses to us, and until when."""

import asyncio

import nats.errors
import pytest

from clusterodm.deploy.nats_users import USERS, published, subscribed
from clusterodm.libs.common.bus.rights import (
    LACKING_FOR_S,
    Following,
    NatsDenials,
    RightDenied,
    failure_of,
    kind_of,
    right_in,
)
from clusterodm.libs.common.errors import BusDenied
from clusterodm.libs.common.process.loops import Loops, background, watched
from clusterodm.libs.common.testing.clock import FakeClock

SUBMIT = "clusterodm.scheduler.submit_task"
NO_PUBLISH = f'Permissions Violation for Publish to "{SUBMIT}"'
NO_SUBSCRIPTION = 'Permissions Violation for Subscription to "clusterodm.hint.placement_possible"'


class Refusals:
    """A connection to which NATS says something, with the time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.denials = NatsDenials(self.clock.instant)

    def said(self, said: str) -> str:
        """Hear it as nats-py tells it: in small letters."""
        return self.denials.heard(nats.errors.Error(f"nats: {said.lower()!r}"))

    @property
    def lacking(self) -> list[str]:
        """Name what is lacking."""
        return [each.right for each in self.denials.lacking()]


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.mark.parametrize(
    ("said", "right"),
    [
        pytest.param(NO_PUBLISH, f"publish to {SUBMIT}", id="a request"),
        pytest.param(
            'Permissions Violation for Publish to "$KV.uploads.3f1c"',
            "publish to $KV.uploads.>",
            id="a key is not named",
        ),
        pytest.param(
            'Permissions Violation for Publish to "$JS.API.CONSUMER.CREATE.KV_nodes.c.$KV.nodes.>"',
            "publish to $JS.API.CONSUMER.CREATE.KV_nodes.>",
            id="a watch",
        ),
        pytest.param(
            'Permissions Violation for Subscription to "clusterodm.scheduler.place_tasks" using queue "scheduler-7"',
            "subscribe to clusterodm.scheduler.place_tasks",
            id="an endpoint",
        ),
        pytest.param(
            'Permissions Violation for Subscription to "_INBOX.proxy.x.*"',
            "subscribe to _INBOX.proxy.>",
            id="answers to us",
        ),
        pytest.param('Permissions Violation for Publish to "_INBOX.x.y"', "", id="who asks says where answers go"),
        pytest.param('Permissions Violation for Publish to "whatever.a.client.says"', "", id="no subject of ours"),
        pytest.param("Permissions Violation", "", id="nothing is named"),
    ],
)
def test_a_right_is_named_by_what_is_allowed_together(said: str, right: str):
    assert right_in(said).lower() == right.lower()


@pytest.mark.parametrize("user", USERS)
def test_every_right_of_every_user_is_known_from_small_letters(user: str):
    for subject in {*published(user, USERS[user]), *subscribed(user, USERS[user])} - {"_INBOX.>"}:
        assert kind_of(subject.lower()) == kind_of(subject) != ""


def test_a_right_is_lacking_until_a_request_comes_through(refusals: Refusals):
    refusals.said(NO_PUBLISH)
    refusals.denials.granted("clusterodm.scheduler.get_task")
    assert refusals.lacking == [f"publish to {SUBMIT}"]
    refusals.denials.granted(SUBMIT)
    assert refusals.lacking == []


def test_a_right_is_lacking_for_a_while_after_it_was_refused_last(refusals: Refusals):
    refusals.said(NO_PUBLISH)
    refusals.clock.pass_s(LACKING_FOR_S - 1)
    assert refusals.denials.lacking()[0].refused_age_s == LACKING_FOR_S - 1
    refusals.said(NO_PUBLISH)
    refusals.clock.pass_s(LACKING_FOR_S - 1)
    assert refusals.lacking
    refusals.clock.pass_s(1)
    assert not refusals.lacking


def test_what_may_not_be_subscribed_is_lacking_until_it_is_asked_for_again(refusals: Refusals):
    for asked_again in (
        lambda: refusals.denials.asked("clusterodm.hint.placement_possible"),
        refusals.denials.disconnected,
    ):
        refusals.said(NO_SUBSCRIPTION)
        refusals.clock.pass_s(LACKING_FOR_S * 100)
        assert refusals.lacking == ["subscribe to clusterodm.hint.placement_possible"]
        asked_again()
        assert refusals.lacking == []


def test_a_lost_connection_gives_no_right_to_publish(refusals: Refusals):
    refusals.said(NO_PUBLISH)
    refusals.denials.disconnected()
    assert refusals.lacking == [f"publish to {SUBMIT}"]


def test_what_others_name_makes_us_lack_nothing(refusals: Refusals):
    for subject in ("_INBOX.admin.x", "a", "$KV", "clusterodm", "*", ">", "a b", ""):
        refusals.said(f'Permissions Violation for Publish to "{subject}"')
    assert refusals.lacking == []


def test_each_right_is_told_of_and_none_more_than_once_a_minute(refusals: Refusals):
    other = 'permissions violation for publish to "$kv.uploads.a"'
    assert refusals.said(NO_PUBLISH) == NO_PUBLISH.lower()
    assert refusals.said(other) == other
    assert refusals.said(other.replace("uploads.a", "uploads.b")) == "", "another key of the same bucket"
    refusals.clock.pass_s(60)
    assert refusals.said(NO_PUBLISH) == NO_PUBLISH.lower()


WATCH = "$JS.API.CONSUMER.CREATE.KV_tasks.c.$KV.tasks.>"
NO_WATCH = f'Permissions Violation for Publish to "{WATCH}"'
NO_ANSWERS = 'Permissions Violation for Subscription to "_INBOX.proxy.x.*"'


@pytest.mark.parametrize(
    ("said", "subject", "right"),
    [
        pytest.param(NO_PUBLISH, SUBMIT, f"publish to {SUBMIT}", id="it"),
        pytest.param(NO_PUBLISH, "clusterodm.scheduler.get_task", "", id="another"),
        pytest.param(NO_ANSWERS, SUBMIT, "subscribe to _INBOX.proxy.>", id="answers"),
    ],
)
def test_what_has_no_answer_for_want_of_a_right_names_that(refusals: Refusals, said: str, subject: str, right: str):
    began = refusals.clock.instant()
    assert refusals.denials.refused(subject, began) == ""
    refusals.said(said)
    assert refusals.denials.refused(subject, began).lower() == right.lower()
    refusals.clock.pass_s(1)
    later = refusals.denials.refused(subject, refusals.clock.instant())
    assert later.lower() == (right.lower() if said == NO_ANSWERS else "")


@pytest.mark.parametrize("stream", ["KV_task", "KV_tasks-archive", "tasks"])
def test_a_stream_is_not_taken_for_another(refusals: Refusals, stream: str):
    began = refusals.clock.instant()
    refusals.said(NO_WATCH)
    assert refusals.denials.refused_of("KV_tasks", began) == "publish to $JS.API.CONSUMER.CREATE.KV_tasks.>"
    assert refusals.denials.refused_of(stream, began) == ""


def test_only_what_was_refused_is_denied():
    assert isinstance(failure_of("tasks/t not updated", RightDenied("publish to $KV.tasks.>")), BusDenied)
    assert not isinstance(failure_of("tasks/t not updated", nats.errors.TimeoutError()), BusDenied)


async def test_what_a_loop_follows_counts_as_its_failure_where_it_is_refused_and_not_where_nats_is_away(
    refusals: Refusals,
):
    following, steps = Following(refusals.denials, "KV_tasks"), asyncio.Queue[asyncio.Event]()

    async def follows() -> None:
        began = refusals.clock.instant()
        for act in (
            lambda: following.interrupted(began),
            lambda: refusals.said(NO_WATCH),
            lambda: following.interrupted(began),
            following.begun,
        ):
            done = await steps.get()
            act()
            done.set()
        await asyncio.Event().wait()

    seen: list[tuple[bool, int, str]] = []
    with watched(Loops(refusals.clock)) as loops:
        async with background(follows, "mirror tasks"):
            for _ in range(4):
                done = asyncio.Event()
                steps.put_nowait(done)
                await done.wait()
                [said] = loops.report()
                seen.append((said.ok, said.failures_count, said.error))
    error = "BusDenied: KV_tasks cannot be followed: NATS has refused: publish to $JS.API.CONSUMER.CREATE.KV_tasks.>"
    assert seen == [(True, 0, ""), (True, 0, ""), (False, 1, error), (True, 0, "")]
