"""What a later version wrote survives an earlier one."""

from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.merging import fields_count, merged
from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.messages.kinds import BucketName


class Part(msgspec.Struct, omit_defaults=True):
    name: str
    weight: int = 0


class Thing(msgspec.Struct, omit_defaults=True):
    id: str
    locked: bool = False
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    by_name: dict[str, Part] = {}


class LaterPart(msgspec.Struct, omit_defaults=True):
    name: str
    weight: int = 0
    colour: str = ""


class LaterThing(msgspec.Struct, omit_defaults=True):
    id: str
    locked: bool = False
    part: LaterPart | None = None
    parts: tuple[LaterPart, ...] = ()
    by_name: dict[str, LaterPart] = {}
    owner: str = ""


LATER = LaterThing(
    "t",
    locked=True,
    part=LaterPart("a", 1, "red"),
    parts=(LaterPart("b", 2, "green"), LaterPart("c", 3, "blue")),
    by_name={"d": LaterPart("d", 4, "grey")},
    owner="me",
)


def rewritten(**changes: object) -> LaterThing:
    """What the later version reads after the earlier one has changed something."""
    raw = msgspec.json.encode(LATER)
    ours = msgspec.structs.replace(msgspec.json.decode(raw, type=Thing), **changes)
    return msgspec.json.decode(merged(Thing, msgspec.json.encode(ours), raw), type=LaterThing)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"id": "u"}, {"id": "u"}, id="a field"),
        pytest.param({"locked": False}, {"locked": False}, id="a field back to its default"),
        pytest.param({"part": None}, {"part": None}, id="an object that goes"),
        pytest.param({"part": Part("a", 9)}, {"part": LaterPart("a", 9, "red")}, id="a field of an object"),
        pytest.param(
            {"parts": (Part("c", 9), Part("e"))},
            {"parts": (LaterPart("c", 9, "blue"), LaterPart("e"))},
            id="a list: elements are known by their required fields",
        ),
        pytest.param(
            {"by_name": {"d": Part("d", 5), "e": Part("e")}},
            {"by_name": {"d": LaterPart("d", 5, "grey"), "e": LaterPart("e")}},
            id="a dict",
        ),
    ],
)
def test_what_an_earlier_version_does_not_know_stays(changes: dict[str, object], expected: dict[str, object]):
    assert rewritten(**changes) == msgspec.structs.replace(LATER, **expected)


def test_a_later_version_has_more_fields():
    assert fields_count(LaterThing) > fields_count(Thing) == 7


@pytest.mark.parametrize("name", [NODES, TASKS], ids=lambda name: name.name)
def test_a_value_of_our_own_version_is_written_as_it_is(name: BucketName[Any]):
    sample = {"id": "n", "hostname": "h", "port": 3000, "locked": True}
    task = {"id": "t", "name": "t", "holder": "p", "created_at_ms": 1, "committed_at_ms": 1, "images_count": 1}
    raw = msgspec.json.encode(msgspec.convert(sample if name is NODES else task, name.value))
    assert merged(name.value, raw, raw) == raw
