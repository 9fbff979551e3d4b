"""Documents that are made from the code, or speak of it, are true."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.messages.kinds import BucketName, Event, Request, Snapshot
from docs import write_decisions, write_logs, write_metrics, write_rooms, write_service_map
from docs.write_subjects import TARGET, declared, encoded, members, render

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
TOLD = sorted(set(DOCUMENTS) - {REPOSITORY / "CHANGELOG.md", *REPOSITORY.glob("docs/decisions/*.md")})
"""What speaks of the code as it is, and not as it was."""
PATH = re.compile(r"`((?:services|libs|deploy|docs|tests|tools|benchmarks)/[\w./-]+)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def test_the_list_of_subjects_is_that_of_the_messages():
    assert TARGET.read_text(encoding="utf-8") == render(), "run: python docs/write_subjects.py"


def test_the_map_of_the_services_is_that_of_their_code():
    text = write_service_map.TARGET.read_text(encoding="utf-8")
    assert text == write_service_map.with_map(text, write_service_map.render()), "run: python docs/write_service_map.py"


def test_the_drawings_of_the_rooms_are_those_of_the_imports():
    text = write_rooms.TARGET.read_text(encoding="utf-8")
    assert text == write_rooms.with_rooms(text), "run: make docs"


def test_an_arrow_that_others_imply_is_not_drawn():
    rooms = {"a": frozenset({"b", "c"}), "b": frozenset({"c"}), "c": frozenset[str]()}
    assert write_rooms.drawn(rooms).splitlines()[1:] == ["    a --> b", "    b --> c", "    c"]


ANSWERED_ELSEWHERE = frozenset(("auth.check_token",))
"""By integrations, if there is one."""


@pytest.mark.parametrize("request_", declared(Request), ids=lambda it: it.name)
def test_every_request_is_answered_by_its_owner(request_: Request[Any, Any]):
    if request_.name in ANSWERED_ELSEWHERE:
        return
    answered = {message.name for message, _ in write_service_map.uses_of(request_.owner)}
    assert request_.name in answered


def test_the_list_of_log_lines_is_that_of_the_code():
    assert write_logs.TARGET.read_text(encoding="utf-8") == write_logs.render(), "run: make docs"


def test_the_list_of_metrics_is_what_the_code_declares():
    assert write_metrics.TARGET.read_text(encoding="utf-8") == write_metrics.render(), "run: make docs"


def test_every_metric_is_listed_once():
    listed = [name for names in write_metrics.declared().values() for name in names]
    assert len(listed) == len(set(listed))


def test_every_metric_is_declared_where_the_list_looks():
    pattern = re.compile(r"= (?:counter|gauge|histogram|summed)\(\s*\"(clusterodm_\w+)\"")
    written = {
        name
        for root in ("libs", "services")
        for path in Path(root).rglob("*.py")
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }
    listed = {name for names in write_metrics.declared().values() for name in names}
    assert listed == written


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        pytest.param("log.info('node added', node=it)", [("node added", "info", ["node"])], id="a line"),
        pytest.param("log.info(event.name, task=it)", [(write_logs.EVENT_NAME, "info", ["task"])], id="an event"),
        pytest.param("log.debug('a' if it else 'b')", [("a", "debug", []), ("b", "debug", [])], id="one of two"),
        pytest.param(
            "self._log = log.bind(task=it)\nself._log.warning('failed', reason=why)",
            [("failed", "warning", ["reason", "task"])],
            id="a logger with fields",
        ),
        pytest.param(
            "at_will = structlog.get_logger(at_will=True)\nat_will.info('upload.refused', path=it)",
            [("upload.refused", "info", ["path", "at_will"])],
            id="a logger of its own",
        ),
        pytest.param(
            "say = log.debug if it else log.warning\nsay('no answer', node=it)",
            [("no answer", "debug", ["node"]), ("no answer", "warning", ["node"])],
            id="one of two levels",
        ),
        pytest.param("client.info(node)", [], id="no logger"),
    ],
)
def test_a_log_line_is_listed_with_its_fields(code: str, lines: list[tuple[str, str, list[str]]]):
    assert list(write_logs.written_in(ast.parse(code))) == lines


def test_a_new_request_of_a_service_shows_on_the_map():
    tree = ast.parse(
        "from clusterodm.libs.common.messages.nodes import ADD_NODE as ADD\nfrom clusterodm.libs.common.messages.placement import PLACE_TASKS\nbus.request(ADD, it, PLACE_TASKS.timeout_s)"
    )
    assert [message.name for message, _ in write_service_map.uses_in(tree)] == ["scheduler.add_node"]


def test_what_is_handed_to_the_bus_with_a_handler_is_watched():
    tree = ast.parse(
        "from clusterodm.libs.common.messages.tasks import TASK_PLACED\nfrom clusterodm.libs.common.messages.nodes import NODE_ADDED\n"
        "bus.subscribe(TASK_PLACED, hear)\nbus.publish(NODE_ADDED, it)"
    )
    uses = {message.name: has_handler for message, has_handler in write_service_map.uses_in(tree)}
    assert uses == {"task.placed": True, "node.added": False}


@pytest.mark.parametrize("message", [*declared(Request), *declared(Event), *declared(Snapshot)], ids=lambda it: it.name)
def test_every_subject_is_listed(message: Any):
    assert f"### `{message.subject}`" in TARGET.read_text(encoding="utf-8")


def types_of(message: Any) -> list[type]:
    """List the records that travel with a message."""
    if isinstance(message, Request):
        return [message.payload, *members(message.reply)]
    return [message.value if isinstance(message, BucketName) else message.payload]


@pytest.mark.parametrize(
    "message",
    [*declared(Request), *declared(Event), *declared(Snapshot), *declared(BucketName)],
    ids=lambda message: message.name,
)
def test_every_example_is_a_message_of_its_type(message: Any):
    for kind in types_of(message):
        assert json.loads(msgspec.json.encode(msgspec.json.decode(encoded(kind), type=kind))) == json.loads(
            encoded(kind)
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(document: Path):
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", TOLD, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_that_are_named_exist(document: Path):
    named = PATH.findall(document.read_text(encoding="utf-8"))
    assert [path for path, _ in named if not (REPOSITORY / path).exists()] == []


def test_a_commit_passes_what_make_check_holds():
    assert "entry: make check\n" in (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_decisions_have_numbers_of_their_own():
    numbers = [path.name[:4] for path in sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))]
    assert len(numbers) == len(set(numbers))
    for path in (REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"):
        assert path.read_text().startswith(f"# {int(path.name[:4])}. "), path.name


def test_the_index_of_decisions_is_that_of_the_decisions():
    index = write_decisions.TARGET.read_text(encoding="utf-8")
    assert index == write_decisions.render(index, today="the day on which `make docs` is run"), "run: make docs"


def test_numbers_that_were_never_used_are_named():
    assert list(write_decisions.holes([1, 2, 4, 7])) == ["3", "5\N{EN DASH}6"]
