"""libs/common/chosen.py: what a node says of options is kept where it differs, and shown as it said it."""

import json

import msgspec
import pytest

from clusterodm.libs.common.chosen import chosen, differences
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.nodesim.options import choose, load, with_post_processing
from clusterodm.services.proxy.options.check import check_options
from clusterodm.services.scheduler.task_life.settled import compacted

DSM, QUALITY = OptionValue("dsm", True), OptionValue("orthophoto-resolution", 16.0)


def a_task(*options: OptionValue, known: LastKnown | None = None) -> Task:
    return Task(
        id=TaskId("11111111-2222-4333-8444-555555555555"),
        name="t",
        state=TaskState.COMPLETED,
        upload_owner=InstanceId("p"),
        created_at_ms=1,
        committed_at_ms=2,
        images_count=3,
        options=options,
        known=known,
    )


def said(*options: OptionValue) -> LastKnown:
    return LastKnown(code=StatusCode.COMPLETED, options=options)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        pytest.param((DSM, QUALITY), (DSM, OptionValue("orthophoto-resolution", 16)), id="as asked"),
        pytest.param((DSM,), (DSM, OptionValue("pc-ept", True), OptionValue("cog", True)), id="some added"),
        pytest.param(
            (OptionValue("max-concurrency", 8), DSM), (OptionValue("max-concurrency", 4), DSM), id="one capped"
        ),
        pytest.param((DSM, QUALITY), (DSM,), id="one dropped"),
        pytest.param((OptionValue("dsm", "true"),), (DSM,), id="text that became a boolean"),
        pytest.param(
            (OptionValue("auto-boundary-distance", 1),),
            (OptionValue("auto-boundary-distance", True),),
            id="1 is not true",
        ),
        pytest.param((), (OptionValue("cog", True),), id="none asked for"),
    ],
)
def test_what_is_shown_is_what_the_node_said(asked: tuple[OptionValue, ...], answered: tuple[OptionValue, ...]) -> None:
    kept = differences(said(*answered), asked)
    shown = chosen(a_task(*asked, known=kept))
    assert kept.options == ()
    assert msgspec.json.encode(shown) == msgspec.json.encode(answered)


def test_the_order_is_that_of_the_task_and_another_order_is_no_difference() -> None:
    kept = differences(said(OptionValue("orthophoto-resolution", 16), DSM), (DSM, QUALITY))
    assert (kept.options_changed, kept.options_lacking) == ((), ())
    assert [option.name for option in chosen(a_task(DSM, QUALITY, known=kept))] == ["dsm", "orthophoto-resolution"]


def test_a_node_that_says_nothing_of_options_has_those_that_were_asked_for() -> None:
    assert chosen(a_task(DSM, known=differences(said(), (DSM,)))) == (DSM,)
    assert chosen(a_task(DSM)) == (DSM,)


def test_a_record_of_the_version_before_shows_all_that_its_node_said() -> None:
    old = {"code": 40, "options": [{"name": "dsm", "value": True}, {"name": "cog", "value": True}]}
    known = msgspec.convert(old, LastKnown)
    assert chosen(a_task(DSM, known=known)) == (DSM, OptionValue("cog", True))


def test_45_options_are_kept_once() -> None:
    asked = [
        {"name": option["name"], "value": option["value"]}
        for option in load()
        if option["type"] in {"bool", "int", "float", "enum"} and option["value"] not in {"", None}
    ][:45]
    assert len(asked) == 45
    task = a_task(*check_options(json.dumps(asked), msgspec.convert(load(), list[NodeOption])))
    on_node = with_post_processing(choose(json.dumps(asked), load()), load(), skip=False)
    known = said(*(OptionValue(each["name"], each["value"]) for each in on_node))
    full = msgspec.structs.replace(task, known=known)
    options_bytes = len(msgspec.json.encode(task.options))
    kept_bytes = len(msgspec.json.encode(compacted(full)))
    assert kept_bytes < options_bytes + 700
    assert msgspec.json.encode(chosen(compacted(full))) == msgspec.json.encode(known.options)
