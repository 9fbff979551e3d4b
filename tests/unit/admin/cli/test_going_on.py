"""What goes on for a while: consoles that are followed, tasks that are waited for, events, ids that are cut short."""

import argparse
import asyncio
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from clusterodm.libs.common import messages
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.messages.kinds import Announcement, Event
from clusterodm.libs.common.messages.nodes import NODE_LOCKED, NodeEvent
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import TASK_FINISHED, SearchTasks, TaskEvent, TaskOrder
from clusterodm.libs.common.model.tasks import LastKnown, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, Owner, TaskId
from clusterodm.libs.common.ports import StoredEvent
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.cli.core import events
from clusterodm.services.admin.cli.core.grammar import read
from clusterodm.services.admin.cli.core.tables import human
from clusterodm.services.admin.cli.core.words import TASK_SORTS
from clusterodm.services.admin.cli.handlers.lasting import Pace, follow, follow_boot, show_events, wait_for
from clusterodm.services.admin.cli.handlers.once import ask, completions
from clusterodm.services.admin.commands.core.answers import (
    Answer,
    ConsoleLines,
    DoneWithNote,
    Failed,
    Invalid,
    TaskChanged,
    TaskDetail,
    TaskListing,
    Unavailable,
    UploadDetail,
)
from clusterodm.services.admin.rendering.answers import document
from tests.fake_autoscaler import FakeAutoscaler
from tests.fake_scheduler import FakeScheduler, node, task
from tests.waiting import until

ONE = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
TWO = "6f9619aa-8b86-4011-b42d-00c04fc964aa"


SOON = Pace(again_s=0.01, timeout_s=0.0)


def given(line: str) -> argparse.Namespace:
    return read(line.split(), 100)


@pytest.fixture
async def scheduler(bus: MemoryBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1)]
    fake.tasks = [
        task(ONE, on=fake.nodes[0], committed_at_ms=1000),
        task(TWO, TaskState.FAILED, committed_at_ms=2000, owner=Owner("o" * 32), error="no"),
    ]
    async with bus.serve("scheduler", fake.handlers()):
        yield fake


async def test_the_beginning_of_an_id_is_enough_where_only_one_begins_so(
    bus: MemoryBus, scheduler: FakeScheduler
) -> None:
    answer = await ask(bus, given("task info 6f9619ff"))
    assert isinstance(answer, TaskDetail)
    assert answer.task.id == ONE
    assert isinstance(await ask(bus, given("task cancel 6F9619FF")), TaskChanged)
    assert scheduler.tasks[0].state is TaskState.CANCELED


async def test_an_ambiguous_beginning_does_nothing_and_names_the_ids(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    answer = await ask(bus, given("task cancel 6f96"))
    assert isinstance(answer, Invalid)
    assert answer.reason == f"2 tasks' ids begin with 6f96: {TWO}, {ONE}"
    assert scheduler.tasks[0].state is TaskState.RUNNING


async def test_a_part_that_is_no_beginning_is_none(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    answer = await ask(bus, given("task info 8b86"))
    assert answer == Invalid("no task's id begins with 8b86")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("", [ONE, TWO]),
        ("--state failed", [TWO]),
        ("--state running,failed", [ONE, TWO]),
        ("1", [ONE]),
        (f"--owner {'o' * 32}", [TWO]),
        ("--since 1970-01-01T00:00:01.500Z", [TWO]),
        ("--limit 1", [TWO]),
        ("--limit 0", []),
    ],
)
async def test_tasks_are_listed_as_the_flags_say_in_the_order_of_their_commits(
    bus: MemoryBus, scheduler: FakeScheduler, flags: str, found: list[str]
) -> None:
    answer = await ask(bus, given(f"task list {flags}"))
    assert isinstance(answer, TaskListing)
    assert [each.id for each in answer.tasks] == found


@pytest.fixture
async def uploads(bus: MemoryBus) -> None:
    bucket = await bus.bucket(PROGRESS)
    for name, owner, created_at_ms in (("early", "", 500), ("late", "o" * 32, 3000)):
        told = UploadProgress(
            task=TaskId(f"upload-{name}"),
            instance=InstanceId("p1"),
            name=name,
            owner=Owner(owner),
            created_at_ms=created_at_ms,
            files_count=3,
            arrived_bytes=5_000_000,
            rate_bytes_per_s=1_000_000.0,
            receiving=True,
        )
        await bucket.put(told.task, told)


@pytest.mark.parametrize(
    ("flags", "committed", "uploading"),
    [
        ("", [ONE, TWO], ["early", "late"]),
        ("--state uploading", [], ["early", "late"]),
        ("--state failed", [TWO], []),
        ("--state failed,uploading", [TWO], ["early", "late"]),
        (f"--owner {'o' * 32}", [TWO], ["late"]),
        ("--since 1970-01-01T00:00:01.500Z", [TWO], ["late"]),
        ("--limit 1", [], ["late"]),
        ("--limit 3", [TWO], ["early", "late"]),
        ("--limit 0", [], []),
        ("1", [ONE], []),
    ],
)
async def test_uploads_in_progress_are_listed_behind_the_tasks(
    bus: MemoryBus, scheduler: FakeScheduler, uploads: None, flags: str, committed: list[str], uploading: list[str]
) -> None:
    answer = await ask(bus, given(f"task list {flags}"))
    assert isinstance(answer, TaskListing)
    assert [each.id for each in answer.tasks] == committed
    assert [each.name for each in answer.uploads] == uploading


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("--sort committed", "cba"),
        ("--sort committed --order asc", "abc"),
        ("--order desc", "cba"),
        ("--sort ended", "bca"),
        ("--sort name", "acb"),
        ("--sort name --order asc", "bca"),
        ("--sort images", "cab"),
        ("--sort processing_time", "bac"),
        ("--sort images --limit 2", "ca"),
        ("--sort images --limit 0", ""),
        ("--sort images --state failed", "b"),
        ("--sort images --state uploading", ""),
    ],
)
async def test_tasks_are_sorted_by_the_words_of_the_pages(
    bus: MemoryBus, scheduler: FakeScheduler, uploads: None, flags: str, found: str
) -> None:
    facts = (("a", "Zoo", 20, 5000, 7), ("b", "alp", 10, 9000, 60), ("c", "mill", 30, 8000, 5))
    scheduler.tasks = [
        task(
            letter,
            TaskState.FAILED if letter == "b" else TaskState.COMPLETED,
            name=name,
            images_count=images_count,
            committed_at_ms=number,
            ended_at_ms=ended_at_ms,
            known=LastKnown(code=40, processing_time_ms=time_ms, seen_at_ms=1),
        )
        for number, (letter, name, images_count, ended_at_ms, time_ms) in enumerate(facts)
    ]
    answer = await ask(bus, given(f"task list {flags}"))
    assert isinstance(answer, TaskListing)
    assert "".join(each.id for each in answer.tasks) == found
    assert [each["uuid"] for each in document(answer)][: len(found)] == list(found)
    limited = "--limit" in flags
    assert len(answer.uploads) == (0 if limited or "failed" in flags else 2), "behind the tasks, where there is room"


async def test_a_sorted_list_is_read_page_by_page_and_no_task_twice(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    scheduler.tasks = [task(f"{number:08}", images_count=number) for number in range(1203)]
    answer = await ask(bus, given("task list --sort images"))
    assert isinstance(answer, TaskListing)
    assert [each.images_count for each in answer.tasks] == list(range(1202, -1, -1))
    assert all(asked.order is TaskOrder.IMAGES and asked.descending for asked in scheduler.asked)
    some = await ask(bus, given("task list --sort images --order asc --limit 700"))
    assert isinstance(some, TaskListing)
    assert [each.images_count for each in some.tasks] == list(range(700))


def test_the_words_to_sort_by_are_those_of_the_scheduler() -> None:
    assert set(TASK_SORTS) == {each.value for each in TaskOrder} - {TaskOrder.QUEUE}


async def test_an_upload_shows_what_has_arrived_and_how_fast(
    bus: MemoryBus, scheduler: FakeScheduler, uploads: None
) -> None:
    answer = await ask(bus, given("task list --state uploading --limit 1"))
    assert "upload-late  uploading  -     3       -     -     late  5.0 MB received, 1.0 MB/s" in human(answer)
    shown = document(answer)[0]
    assert (shown["state"], shown["arrivedBytes"], shown["bytesPerSecond"]) == ("uploading", 5_000_000, 1_000_000)


async def test_the_scheduler_filters_and_not_the_command(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    await ask(bus, given(f"task list 1 --state failed,running --owner {'o' * 32} --since 1h --limit 7"))
    asked = scheduler.asked[-1]
    assert isinstance(asked, SearchTasks)
    assert asked.states == (TaskState.FAILED, TaskState.RUNNING)
    assert (asked.node, asked.owner, asked.limit_count, asked.descending) == ("127.0.0.1-4001", "o" * 32, 7, True)
    assert asked.since_ms > 1_700_000_000_000


async def test_all_pages_are_read_in_order_and_none_twice(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    made = [f"{number:08}-0000-4000-8000-000000000000" for number in range(1203)]
    scheduler.tasks = [task(each, committed_at_ms=number // 3) for number, each in enumerate(made)]
    answer = await ask(bus, given("task list"))
    assert isinstance(answer, TaskListing)
    assert [each.id for each in answer.tasks] == made
    newest = await ask(bus, given("task list --limit 700"))
    assert isinstance(newest, TaskListing)
    assert len({each.id for each in newest.tasks}) == 700
    assert [each.committed_at_ms for each in newest.tasks] == sorted(each.committed_at_ms for each in newest.tasks)


async def test_a_node_that_does_not_exist_is_said(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    assert await ask(bus, given("task list 7")) == Invalid("there is no such node")


async def test_without_a_scheduler_all_of_it_says_so(bus: MemoryBus) -> None:
    shown: list[Answer] = []
    silent = Unavailable("The scheduler does not answer.")
    assert await ask(bus, given("task list")) == silent
    assert await follow(bus, given(f"task output {ONE} -f"), shown.append, SOON) == silent
    assert await wait_for(bus, given(f"task wait {ONE}"), shown.append, SOON) == silent
    assert shown == []


async def test_a_console_is_followed_to_the_end_of_its_task(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    scheduler.consoles[ONE] = ("one", "two", "three")
    shown: list[Answer] = []
    following = asyncio.ensure_future(follow(bus, given("task output 6f9619ff -2 -f"), shown.append, SOON))  # noqa: TID251 it is cancelled nowhere
    await until(lambda: len(shown) == 1)
    scheduler.consoles[ONE] += ("four",)
    await until(lambda: len(shown) == 2)
    scheduler.consoles[ONE] += ("five",)
    scheduler.tasks[0] = replace(scheduler.tasks[0], state=TaskState.COMPLETED)
    assert await following is None
    assert shown == [ConsoleLines(("two", "three")), ConsoleLines(("four",)), ConsoleLines(("five",))]


async def test_another_attempt_is_followed_from_its_beginning(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    scheduler.consoles[ONE] = ("one", "two")
    shown: list[Answer] = []
    following = asyncio.ensure_future(follow(bus, given(f"task output {ONE} -f"), shown.append, SOON))  # noqa: TID251 as above
    await until(lambda: len(shown) == 1)
    first = scheduler.tasks[0]
    scheduler.consoles[ONE] = ("again",)
    scheduler.tasks[0] = replace(first, attempts=first.attempts * 2, state=TaskState.FAILED)
    assert await following is None
    assert shown == [ConsoleLines(("one", "two")), ConsoleLines(("again",))]


async def test_waiting_ends_with_the_tasks_and_fails_when_one_did_not_complete(
    bus: MemoryBus, scheduler: FakeScheduler
) -> None:
    shown: list[Answer] = []
    waiting = asyncio.ensure_future(wait_for(bus, given(f"task wait 6f9619ff {TWO}"), shown.append, SOON))  # noqa: TID251 as above
    await until(lambda: any(TaskId(ONE) == each.task for each in scheduler.asked_tasks))
    scheduler.tasks[0] = replace(scheduler.tasks[0], state=TaskState.COMPLETED)
    assert await waiting == Failed(f"not completed: {TWO} failed")
    assert shown == [DoneWithNote(f"{ONE} completed"), DoneWithNote(f"{TWO} failed: no")]
    assert await wait_for(bus, given("task wait 6f9619ff"), shown.append, SOON) is None


async def test_waiting_takes_no_longer_than_it_may(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    answer = await wait_for(bus, given(f"task wait {ONE} --timeout 0"), lambda _: None, SOON)
    assert answer == Failed("not ended within 0 s")


def told(number: int, name: str = "task.finished", at_ms: int = 0, **fields: Any) -> StoredEvent:
    return StoredEvent(number, name, at_ms, fields)


@pytest.mark.parametrize(
    ("about", "fits"),
    [
        ("", True),
        ("task", True),
        ("task.finished", True),
        ("tas", False),
        ("node", False),
        (ONE, True),
        ("6f96", True),
        ("6f9", False),
        ("10.0.0.1-3000", True),
    ],
)
def test_an_event_is_about_a_noun_a_name_or_an_id(about: str, fits: bool) -> None:
    assert events.matches(told(1, task=ONE, node="10.0.0.1-3000"), about) is fits


async def test_events_are_shown_the_last_first_ones_left_out_and_followed(bus: MemoryBus) -> None:
    for number in range(30):
        await bus.publish(NODE_LOCKED, NodeEvent(at_ms=number, node=NodeId(f"n{number}")))
        if number % 10 == 0:
            ended = TaskEvent(at_ms=number, task=TaskId(f"task-{number}"), state=TaskState.COMPLETED)
            await bus.publish(TASK_FINISHED, ended)
    shown: list[StoredEvent] = []
    await show_events(bus, given("events task --limit 2"), shown.append, SOON)
    assert [event.payload["task"] for event in shown] == ["task-10", "task-20"]
    shown.clear()
    following = asyncio.ensure_future(show_events(bus, given("events node --limit 1 -f"), shown.append, SOON))  # noqa: TID251 as above
    await until(lambda: len(shown) == 1)
    await bus.publish(NODE_LOCKED, NodeEvent(at_ms=99, node=NodeId("later")))
    await until(lambda: len(shown) == 2)
    following.cancel()
    assert [event.payload["node"] for event in shown] == ["n29", "later"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("events frob", "there is no such kind: one of task, node, "),
        ("events task.finishd -f", "did you mean 'task.finished'"),
        ("events nodes --since 1h", "did you mean 'node'"),
    ],
)
async def test_a_kind_of_event_that_there_is_not_is_wrong_usage(bus: MemoryBus, line: str, said: str) -> None:
    await bus.publish(NODE_LOCKED, NodeEvent(at_ms=1, node=NodeId("worker")))
    with pytest.raises(Refused, match=re.escape(said)):
        await show_events(bus, given(line), lambda _: None, SOON)


@pytest.mark.parametrize("about", ["worker", "work", "task", "machine.failed", "6f9619ff", "10.0.0.1-3000"])
async def test_what_an_event_is_or_may_be_about_is_right_usage(bus: MemoryBus, about: str) -> None:
    await bus.publish(NODE_LOCKED, NodeEvent(at_ms=1, node=NodeId("worker")))
    await show_events(bus, given(f"events {about}"), lambda _: None, SOON)


def test_every_kind_of_event_is_known() -> None:
    modules = [
        importlib.import_module(each.name) for each in pkgutil.iter_modules(messages.__path__, f"{messages.__name__}.")
    ]
    names = {
        each.name
        for module in modules
        for each in vars(module).values()
        if isinstance(each, Event) and not isinstance(each, Announcement)
    }
    assert set(events.KINDS) == names


def test_a_line_of_an_event_leaves_out_what_is_a_list_or_empty() -> None:
    line = events.line(told(1, "node.labeled", 1_700_000_000_000, node="a-1", labels=["gpu"], empty="", more={"a": 1}))
    assert line.endswith("node.labeled              a-1")


def test_an_event_is_a_line_with_what_it_is_about_and_why() -> None:
    line = events.line(told(1, "task.finished", 1_700_000_000_000, task=ONE, state="failed", attempt=2, reason="lost"))
    assert line.split("  ")[1] == "task.finished"
    assert f"{ONE}: lost  (state=failed attempt=2)" in line


async def test_shells_are_offered_what_there_is(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    assert await completions(bus, "node") == [("1", "127.0.0.1:4001")]
    assert (TWO, "failed task 6f96") in await completions(bus, "task")
    assert await completions(bus, "what") == []


async def test_a_boot_log_is_followed_until_the_machine_has_booted(bus: MemoryBus) -> None:
    fake, shown = FakeAutoscaler(), list[Answer]()
    name = fake.machines[1].machine.id
    fake.boot_logs[name] = ("one", "two", "three")
    async with bus.serve("autoscaler", fake.handlers()):
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow_boot(bus, given("asr output 2 -1 -f"), shown.append, SOON))
            await until(lambda: shown)
            fake.boot_logs[name] += ("four",)
            await until(lambda: len(shown) > 1)
            fake.booting = False
        assert following.result() is None
        assert shown == [ConsoleLines(("three",)), ConsoleLines(("four",))]
        assert await follow_boot(bus, given("asr output nobody -f"), shown.append, SOON) == Invalid(
            "There is no machine nobody"
        )
        assert await follow_boot(bus, given("asr output 9 -f"), shown.append, SOON) == Invalid(
            "there is no such machine"
        )
    assert await follow_boot(bus, given("asr output 2 -f"), shown.append, SOON) == Unavailable(
        "The autoscaler does not answer."
    )


UPLOAD = "7a9619ff-8b86-4011-b42d-00c04fc964ff"


async def test_an_upload_in_progress_is_shown_by_its_id_or_the_beginning_of_it(
    bus: MemoryBus, scheduler: FakeScheduler
) -> None:
    upload = UploadProgress(
        task=TaskId(UPLOAD), instance=InstanceId("p1"), name="Orchard", created_at_ms=3, arrived_bytes=3_500_000
    )
    await (await bus.bucket(PROGRESS)).put(UPLOAD, upload)
    assert await ask(bus, given("task info 7a96")) == UploadDetail(upload)
    assert await ask(bus, given(f"task output {UPLOAD}")) == ConsoleLines(())
    shown = document(UploadDetail(upload))
    assert (shown["state"], shown["arrivedBytes"]) == ("uploading", 3_500_000)
    assert isinstance(await ask(bus, given(f"task info {UPLOAD[:-1]}0")), Invalid)
    assert isinstance(await ask(bus, given(f"task cancel {UPLOAD}")), Invalid), "its client alone ends it"


async def test_an_empty_text_names_no_task(bus: MemoryBus, scheduler: FakeScheduler) -> None:
    empty = argparse.Namespace(**{**vars(given("task wait x")), "task": [""]})
    answer = await wait_for(bus, empty, lambda _: None, SOON)
    assert answer == Invalid("an empty text is the beginning of every id: name a task")


@pytest.mark.parametrize(
    ("flags", "said"),
    [("", "There are no tasks."), ("--state failed", "No task is like that."), ("--owner x", "No task is like that.")],
)
async def test_an_empty_list_says_whether_something_was_left_out(bus: MemoryBus, flags: str, said: str) -> None:
    async with bus.serve("scheduler", FakeScheduler().handlers()):
        assert human(await ask(bus, given(f"task list {flags}"))) == said


@pytest.mark.parametrize("width", [20, 40, 60])
def test_on_a_narrow_terminal_an_event_is_a_block_of_lines_that_fit(width: int) -> None:
    payload = {
        "task": ONE,
        "state": "failed",
        "node": "10.0.0.1-3000",
        "reason": "Cannot process dataset, not enough images",
    }
    event = StoredEvent(sequence=1, at_ms=1000, name="task.finished", payload=payload, cause="")
    lines = list(events.lines(event, width))
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(events.line(event).split()), "nothing is lost"
    assert all(line.startswith("  ") for line in lines[2:])
    assert len(list(events.lines(event, None))) == len(list(events.lines(event, 100))) == 1
