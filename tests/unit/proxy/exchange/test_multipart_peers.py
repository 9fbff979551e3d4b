"""All kinds of bodies: what is kept here, beside what NodeODM's parsers answered to the same bytes."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.proxy.exchange.multipart import MultipartReader, boundary_of
from clusterodm.services.proxy.exchange.nodeodm_api import NO_FILES
from clusterodm.services.proxy.spool.core.upload import LONGEST_BYTES, safe_name, unique_name
from clusterodm.services.proxy.uploads.api import UploadReader
from tests.memory_spool import MemoryPart
from tests.multipart_cases import CASES, PIXELS, Case

ANSWERS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[3] / "records/multipart.json").read_text())
NODEODM = "busboy 0.2.14"
"""What an installation of NodeODM 2.2.4 reads forms with."""
DOC = (Path(__file__).parents[4] / "docs/multipart.md").read_text()


@dataclass
class Outcome:
    """What became of a body."""

    kept: list[tuple[str, bytes]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    refused: str = ""


class Receipt:
    """Keeps parts in memory."""

    def __init__(self) -> None:
        self.parts: list[MemoryPart] = []
        self.published: list[Any] = []

    @property
    def files_count(self) -> int:
        return len(self.parts)

    async def open(self, filename: str) -> MemoryPart:
        self.parts.append(MemoryPart(safe_name(filename)))
        return self.parts[-1]


def named(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Give files of one name names of their own."""
    kept: dict[str, bytes] = {}
    for name, content in files:
        kept[unique_name(name, frozenset(kept))] = content
    return list(kept.items())


async def ours(content_type: bytes, chunks: list[bytes]) -> Outcome:
    """Read a body as an upload is read."""
    receipt = Receipt()
    try:
        reader = MultipartReader(boundary_of(content_type))
        intake = UploadReader(reader, receipt)
        for chunk in chunks:
            await intake.feed(chunk)
        reader.finish()
    except Refused as refused:
        return Outcome(refused=refused.message)
    if not receipt.files_count:
        return Outcome(refused=NO_FILES)
    return Outcome(named([(part.name, bytes(part.content)) for part in receipt.parts]), intake.fields)


def theirs(case: Case, peer: str) -> Outcome:
    """What NodeODM does with its parser's answer: a file of its own name is renamed, and no file is an error."""
    answer = ANSWERS[case.id][peer]
    if answer.get("silent") or answer.get("error") or not answer["files"]:
        return Outcome(refused=answer.get("error") or "nothing")
    files = [
        ("_body.json" if name == "body.json" else name, content.encode("latin-1")) for name, content in answer["files"]
    ]
    if any(len(name.encode()) > LONGEST_BYTES for name, _ in files):
        return Outcome(refused="ENAMETOOLONG")
    return Outcome(named(files), answer["fields"])


def cut(body: bytes, size: int) -> list[bytes]:
    """Cut a body into pieces."""
    return [body[a:b] for a, b in pairwise([*range(0, len(body), size), len(body)])]


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_a_body_becomes_what_the_table_says_however_it_is_cut(case: Case, size: int):
    outcome = await ours(case.content_type, cut(case.body, size))

    if case.refused:
        assert case.refused in outcome.refused
        return
    contents = case.contents or (PIXELS.encode(),) * len(case.kept)
    assert (outcome.refused, outcome.kept) == ("", list(zip(case.kept, contents, strict=True)))
    assert outcome.fields == dict(case.fields)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_what_differs_from_nodeodm_has_a_reason_and_nothing_else_has(case: Case):
    here, there = await ours(case.content_type, [case.body]), theirs(case, NODEODM)
    alike = bool(there.refused) if here.refused else (here.kept, here.fields) == (there.kept, there.fields)
    assert alike is not bool(case.why), (here, there)


@pytest.mark.parametrize("case", [case for case in CASES if case.why], ids=lambda case: case.id)
def test_each_difference_is_in_the_docs(case: Case):
    assert case.id in DOC
    assert case.why in DOC


def test_the_names_of_cases_are_those_of_the_records():
    assert [case.id for case in CASES] == list(ANSWERS)
