"""One command against a cluster: connected, asked, and its answer printed as the operator wants it.

What is answered once and soon goes by a short connection (libs/common/bus/short.py), so that the answer is there before an event loop would be loaded. Everything else
goes by the bus that services have, and so does what the short one could not do, unless it may have been done.
"""

import argparse
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from clusterodm.libs.common.bus.short import ShortBus
from clusterodm.libs.common.bus.short_protocol import NotShort
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_OK
from clusterodm.services.admin.access.roles import Principal, Role, acting
from clusterodm.services.admin.cli.adapters import clear, nats_url, read, read_secret, say, table_style, user_name
from clusterodm.services.admin.cli.core.asking import takes_token
from clusterodm.services.admin.cli.core.tables import human
from clusterodm.services.admin.cli.handlers.once import ask, completions
from clusterodm.services.admin.commands.core.answers import Answer, UsageReport
from clusterodm.services.admin.rendering.answers import document, exit_code, sentence
from clusterodm.services.admin.rendering.text import PROGRAMS, one_line, written

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus, StoredEvent

Found = TypeVar("Found")

NATS_WAIT_S: Final = 5.0
COMPLETION_WAIT_S: Final = 1.0
SHORT: Final = frozenset(
    {
        *(("node", "list"), ("node", "info"), ("node", "best"), ("route", "list"), ("route", "info")),
        *(("task", "list"), ("task", "info"), ("task", "output"), ("tenant", "usage")),
        *(("asr", "list"), ("asr", "status"), ("asr", "viewcmd"), ("asr", "plan"), ("asr", "output")),
    }
)
"""What changes nothing, so that it may be asked again."""
SHORT_ACTS: Final = frozenset(
    {
        *(("node", "lock"), ("node", "unlock"), ("node", "drain"), ("node", "label"), ("node", "del")),
        *(("task", "cancel"), ("task", "remove"), ("task", "restart"), ("task", "priority"), ("task", "up")),
        *(("asr", "pause"), ("asr", "resume"), ("asr", "destroy")),
    }
)
"""What changes something, is done at once, and is put on record."""


# --- by a short connection -----------------------------------------------------------------------------------------


def run_short(given: argparse.Namespace) -> int | None:
    """Do what is asked for, without an event loop; the exit code, or None: it takes the other way. Raises Refused and BusFailed."""
    if (given.noun, given.verb) == ("completion", "values"):
        try:
            found = asked_short("", None, lambda bus: completions(bus, given.kind))
        except (BusFailed, Refused):
            return EXIT_FAILED
        return None if found is None else offered(found)
    if (given.noun, given.verb) in SHORT_ACTS:
        acting.set(operator())
    elif (given.noun, given.verb) not in SHORT or goes_on(given) or getattr(given, "watch", None) is not None:
        return None
    read_files(given)
    answer = asked_short(given.nats_url, given.data_dir, lambda bus: ask(bus, given))
    return None if answer is None else shower(given)(answer)


def asked_short(
    url: str, data_dir: str | None, question: "Callable[[Bus], Coroutine[Any, Any, Found]]"
) -> Found | None:
    """Ask by a short connection; None: it was not answered there."""
    try:
        with ShortBus(nats_url(url, data_dir), "cli") as bus:
            return answered(question(cast("Bus", bus)))  # of a bus no more is used than it has
    except NotShort:
        return None


def answered(question: Coroutine[Any, Any, Found]) -> Found:
    """Carry out what waits for no event loop."""
    try:
        question.send(None)
    except StopIteration as done:
        found: Found = done.value
        return found
    question.close()
    raise RuntimeError("a short question waits for something")


# --- by the bus ----------------------------------------------------------------------------------------------------


async def run(given: argparse.Namespace) -> int:
    """Do what is asked for; the exit code. Raises Refused and BusFailed."""
    from clusterodm.libs.common.bus.bus import connect

    if given.noun == "completion":
        return await offer(given.kind)
    if given.noun == "import":
        return await take_over(given)
    read_files(given)
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        return await carried_out(bus, given)


def read_files(given: argparse.Namespace) -> None:
    """Read what is named by a file. Raises Refused."""
    if (given.noun, given.verb) == ("asr", "plan"):
        given.demand_text = read(given.demand) if given.demand else None
    if path := takes_token(given):
        given.token = read_secret(path)


async def carried_out(bus: "Bus", given: argparse.Namespace) -> int:
    """Carry out one command; the exit code."""
    from clusterodm.services.admin.cli.handlers.lasting import show_events, watch

    acting.set(operator())
    show = shower(given)
    if given.noun == "events":
        await show_events(bus, given, lambda event: say(event_text(event, given.output)))
        return EXIT_OK
    if getattr(given, "watch", None) is not None:
        return await watch(bus, given, show, clear)
    answer = await long_answer(bus, given, show) if goes_on(given) else await ask(bus, given)
    return show(answer) if answer is not None else EXIT_OK


def operator() -> Principal:
    """Say who acts: NATS says what its user may."""
    return Principal(user_name(), Role.ADMIN, "cli")


def goes_on(given: argparse.Namespace) -> bool:
    """Whether a command is answered bit by bit."""
    return bool(getattr(given, "follow", False)) or given.verb == "wait"


async def long_answer(bus: "Bus", given: argparse.Namespace, show: Callable[[Answer], int]) -> Answer | None:
    """Carry out what is answered bit by bit; what went wrong in the end."""
    from clusterodm.services.admin.cli.handlers.lasting import follow, follow_boot, wait_for

    if given.noun == "asr":
        return await follow_boot(bus, given, show)
    return await (wait_for if given.verb == "wait" else follow)(bus, given, show)


def shower(given: argparse.Namespace) -> Callable[[Answer], int]:
    """Make what prints an answer; it gives the exit code."""
    lines = goes_on(given)

    def show(answer: Answer) -> int:
        code = exit_code(answer)
        if given.output in PROGRAMS:
            say(written(document(answer), given.output, one_line_each=lines))
        elif given.output == "csv" and isinstance(answer, UsageReport):
            say(sentence(answer))
        else:
            say(human(answer, table_style(wide=given.output == "wide")), failed=bool(code))
        return code

    return show


def event_text(event: "StoredEvent", output: str | None) -> str:
    """Write one event."""
    from clusterodm.services.admin.cli.core import events

    return (
        written(events.document(event), output, one_line_each=True)
        if output in PROGRAMS
        else "\n".join(events.lines(event, table_style(wide=output == "wide").width))
    )


async def offer(kind: str) -> int:
    """Print what a shell may complete; nothing at all where there is no cluster."""
    from clusterodm.libs.common.bus.bus import connect

    try:
        async with connect(nats_url("", None), "cli", wait_s=COMPLETION_WAIT_S) as bus:
            return offered(await completions(bus, kind))
    except (BusFailed, Refused):
        return EXIT_FAILED


def offered(found: Sequence[tuple[str, str]]) -> int:
    """Print what a shell may complete, each with what it is."""
    for value, what in found:
        say(f"{one_line(value)}\t{one_line(what)}")
    return EXIT_OK


async def take_over(given: argparse.Namespace) -> int:
    """Import an existing installation and print what became of it."""
    from clusterodm.libs.common.bus.bus import connect
    from clusterodm.libs.common.process.wall_clock import now_ms
    from clusterodm.services.admin.takeover.core import read_nodes, read_routes
    from clusterodm.services.admin.takeover.handlers import Takeover

    nodes, mistakes = read_nodes(given.nodes, read(given.nodes))
    routes, more = read_routes(given.routes, read(given.routes)) if given.routes else ([], [])
    if mistakes or more:
        raise Refused("nothing was imported:\n" + "\n".join([*mistakes, *more]))
    acting.set(operator())
    lines: list[str] = []
    programs = given.output in PROGRAMS
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        result = await Takeover(bus, now_ms(), lines.append if programs else lambda text: say(one_line(text))).run(
            nodes, routes
        )
    if programs:
        say(written({**result.counts(), "said": lines}, given.output, one_line_each=False))
    else:
        say(f"nodes: {result.nodes}; tasks: {result.routes}")
    return EXIT_OK if result.complete else EXIT_FAILED
