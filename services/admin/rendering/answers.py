"""How each answer is shown: one table of all of them, whichever way a command came.

    telnet                  `rendered`: its line or lines, which scripts have read for years, or the JSON document
    the command line        a table (`listing_of`) or a sentence; --json and -o yaml: the document
    the original's pages    the document (`/r/...`)

What is shown of a node, a task, a machine stands in the modules beside this one. `/api/v1` and our pages have views of their own, whose
types are documented (web/core).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from clusterodm.services.admin.commands.core import answers
from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.rendering.columns import Json, Listing, head_of, json_object, listing, row_under
from clusterodm.services.admin.rendering.machines import MACHINE, STEP, autoscaler_status, machine_line
from clusterodm.services.admin.rendering.nodes import ENTRY, TABLE, node_data, node_line
from clusterodm.services.admin.rendering.tasks import ROUTE, TASK, UPLOAD, route_data, task_data
from clusterodm.services.admin.rendering.text import END, one_line, pretty, pretty_pieces, printable
from clusterodm.services.admin.rendering.usage import FIGURES, usage_csv, usage_data, usage_listing

Kind = TypeVar("Kind")


class Shape(NamedTuple, Generic[Kind]):
    """How one kind of answer is shown."""

    document: Callable[[Kind], Any]
    """As one JSON document."""
    text: Callable[[Kind], str] | None = None
    """As telnet says it; None: the document."""
    listing: Callable[[Kind], Listing | None] | None = None
    """As a table; None: as telnet says it."""
    pieces: Callable[[Kind], Iterator[str]] | None = None
    """As telnet says it, where it may be long: what is worth a moment at a time, so that nobody else has to wait for all of it."""


def shape(
    kind: type[Kind],
    document: Callable[[Kind], Any],
    text: Callable[[Kind], str] | None = None,
    listing: Callable[[Kind], Listing | None] | None = None,
    pieces: Callable[[Kind], Iterator[str]] | None = None,
) -> tuple[type[Kind], Shape[Kind]]:
    """Say how one kind of answer is shown."""
    return kind, Shape(document, text, listing, pieces)


def refused(answer: answers.Declined | answers.Invalid | answers.Unavailable) -> Any:
    """Put into JSON why nothing is done."""
    return {"success": False, "error": answer.reason}


def task_listing(answer: answers.TaskListing) -> Listing:
    """Make a table of tasks, and of uploads behind them."""
    uploads = [row_under(head_of(TASK), UPLOAD, upload) for upload in answer.uploads]
    return listing(TASK, answer.tasks, "No task is like that." if answer.filtered else "There are no tasks.", uploads)


def task_objects(answer: answers.TaskListing) -> Iterator[Json]:
    """Put tasks, and uploads behind them, into JSON."""
    yield from (json_object(TASK, each) for each in answer.tasks)
    yield from (json_object(UPLOAD, each) for each in answer.uploads)


SHAPES: Final[Mapping[type, Shape[Any]]] = dict((
    shape(answers.Ok, lambda _: {"success": True}, lambda _: "OK"),
    shape(answers.DoneWithNote, lambda it: {"success": True, "message": it.text}, lambda it: one_line(it.text)),
    shape(answers.Declined, refused, lambda it: one_line(f"FAIL {it.reason}") if it.told else "FAIL"),
    shape(answers.Invalid, refused, lambda _: "INVALID"),
    shape(answers.Unavailable, refused, lambda it: one_line(it.reason)),
    shape(answers.TaskChanged, lambda it: {"success": False, "error": it.error} if it.error else {"success": True}),
    shape(answers.Failed, lambda it: {"error": it.error}),
    shape(
        answers.NodeListing,
        lambda it: [json_object(ENTRY, node) for node in it.nodes],
        lambda it: "".join(node_line(node.number, node) + END for node in it.nodes),
        lambda it: listing(TABLE, it.nodes, "There are no nodes."),
    ),
    shape(answers.NodeDetail, lambda it: node_data(it.node)),
    shape(
        answers.NodeChoice,
        lambda it: None if it.node is None else json_object(ENTRY, it.node),
        lambda it: "No best node available" if it.node is None else node_line(1, it.node),
        lambda it: None if it.node is None else listing(TABLE, [it.node], ""),
    ),
    shape(
        answers.RouteListing,
        lambda it: {route.task: route_data(route) for route in it.routes},
        None,
        lambda it: listing(ROUTE, it.routes, "There are no routes."),
        lambda it: pretty_pieces("{}", (f"{pretty(each.task)}: {pretty(route_data(each))}" for each in it.routes)),
    ),
    shape(answers.RouteDetail, lambda it: route_data(it.route)),
    shape(
        answers.TaskListing,
        lambda it: list(task_objects(it)),
        None,
        task_listing,
        lambda it: pretty_pieces("[]", map(pretty, task_objects(it))),
    ),
    shape(answers.TaskDetail, task_data),
    shape(answers.UploadDetail, lambda it: json_object(UPLOAD, it.upload)),
    shape(
        answers.ConsoleLines,
        lambda it: list(it.lines),
        lambda it: END.join(printable(line.replace("\n", " ")) for line in it.lines),
    ),
    shape(answers.MachineCommandLine, lambda it: {"command": it.command}, lambda it: one_line(it.command)),
    shape(
        answers.MachinePlan,
        lambda it: [json_object(STEP, step) for step in it.steps],
        lambda it: END.join(one_line(str(step)) for step in it.steps) or "nothing is to be done",
    ),
    shape(
        answers.MachineListing,
        lambda it: [json_object(MACHINE, view) for view in it.machines],
        lambda it: "".join(machine_line(view) + END for view in it.machines),
        lambda it: listing(MACHINE, it.machines, "There are no machines."),
    ),
    shape(answers.AutoscalerReport, lambda it: autoscaler_status(it.status)),
    shape(
        answers.UsageReport,
        lambda it: {"usage": [usage_data(row) for row in it.rows], "total": json_object(FIGURES, it.total)},
        lambda it: usage_csv(it.rows).removesuffix(END),
        lambda it: usage_listing(it.rows, it.total),
    ),
))  # fmt: skip
"""Of every answer."""


def document(answer: Answer) -> Any:
    """Put an answer into one JSON document."""
    return SHAPES[type(answer)].document(answer)


def rendered(answer: Answer) -> Iterator[str]:
    """Write an answer for telnet, line end included, a piece at a time."""
    shown = SHAPES[type(answer)]
    if shown.pieces is not None:
        yield from shown.pieces(answer)
    else:
        yield pretty(document(answer)) if shown.text is None else shown.text(answer)
    yield END


def render(answer: Answer) -> str:
    """Write an answer for telnet as a whole."""
    return "".join(rendered(answer))


def listing_of(answer: Answer) -> Listing | None:
    """Make a table of an answer that is a list; None when it is none."""
    made = SHAPES[type(answer)].listing
    return made and made(answer)


def sentence(answer: Answer) -> str:
    """Write an answer that is no list for a person."""
    return failure_reason(answer) or render(answer).replace("\r\n", "\n").removesuffix("\n")


def failure_reason(answer: Answer) -> str:
    """Write why a command came to nothing; empty when it did not."""
    match answer:
        case (
            answers.Declined(reason)
            | answers.Invalid(reason)
            | answers.Unavailable(reason)
            | answers.Failed(reason)
            | answers.TaskChanged(reason)
        ):
            return one_line(reason)
        case _:
            return ""


def exit_code(answer: Answer) -> int:
    """Say how a program ends that got this answer: 0 yes, 1 no, 3 nobody answered."""
    match answer:
        case answers.Unavailable():
            return 3
        case answers.Declined() | answers.Invalid() | answers.Failed() | answers.NodeChoice(None):
            return 1
        case answers.TaskChanged(error):
            return 1 if error else 0
        case _:
            return 0
