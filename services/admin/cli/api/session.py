"""One command against a cluster: connected, asked, and its answer printed as the operator wants it."""

import argparse
import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.ports import Bus, StoredEvent
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.services.admin.access.roles import Principal, Role, acting
from clusterodm.services.admin.cli.adapters import clear, look, nats_url, read, read_secret, say, user_name
from clusterodm.services.admin.cli.core import events
from clusterodm.services.admin.cli.core.asking import takes_token
from clusterodm.services.admin.cli.core.tables import human
from clusterodm.services.admin.cli.handlers import ask, completions, follow, show_events, wait_for, watch
from clusterodm.services.admin.commands.core.answers import Answer, UsageReport
from clusterodm.services.admin.rendering.json_objects import document
from clusterodm.services.admin.rendering.text import exit_code, one_line, pretty, printable
from clusterodm.services.admin.rendering.usage import usage_csv
from clusterodm.services.admin.takeover.core import read_nodes, read_routes
from clusterodm.services.admin.takeover.handlers import Takeover

EXIT_OK: Final = 0
EXIT_NO: Final = 1
NATS_WAIT_S: Final = 5.0
COMPLETION_WAIT_S: Final = 1.0
PROGRAMS: Final = frozenset({"json", "yaml"})


async def run(given: argparse.Namespace) -> int:
    """Do what is asked for; the exit code. Raises Refused and BusFailed."""
    if given.noun == "completion":
        return await offer(given.kind)
    if given.noun == "import":
        return await take_over(given)
    if (given.noun, given.verb) == ("asr", "plan"):
        given.demand_text = read(given.demand) if given.demand else None
    if path := takes_token(given):
        given.token = read_secret(path)
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        return await carried_out(bus, given)


async def carried_out(bus: Bus, given: argparse.Namespace) -> int:
    """Carry out one command; the exit code."""
    acting.set(Principal(user_name(), Role.ADMIN, "cli"))  # NATS says what its user may
    show = shower(given)
    if given.noun == "events":
        await show_events(bus, given, lambda event: say(event_text(event, given.output)))
        return EXIT_OK
    if getattr(given, "watch", None) is not None:
        return await watch(bus, given, show, clear)
    answer = await long_answer(bus, given, show) if goes_on(given) else await ask(bus, given)
    return show(answer) if answer is not None else EXIT_OK


def goes_on(given: argparse.Namespace) -> bool:
    """Whether a command is answered bit by bit."""
    return bool(getattr(given, "follow", False)) or given.verb == "wait"


async def long_answer(bus: Bus, given: argparse.Namespace, show: Callable[[Answer], int]) -> Answer | None:
    """Carry out what is answered bit by bit; what went wrong in the end."""
    return await (wait_for if given.verb == "wait" else follow)(bus, given, show)


def shower(given: argparse.Namespace) -> Callable[[Answer], int]:
    """Make what prints an answer; it gives the exit code."""
    lines = goes_on(given)

    def show(answer: Answer) -> int:
        code = exit_code(answer)
        if given.output in PROGRAMS:
            say(written(document(answer), given.output, one_line_each=lines))
        elif given.output == "csv" and isinstance(answer, UsageReport):
            say(usage_csv(answer.rows).replace("\r\n", "\n").removesuffix("\n"))
        else:
            say(human(answer, look(wide=given.output == "wide")), failed=bool(code))
        return code

    return show


def event_text(event: StoredEvent, output: str | None) -> str:
    """Write one event."""
    return (
        written(events.document(event), output, one_line_each=True)
        if output in PROGRAMS
        else one_line(events.line(event))
    )


def written(content: Any, output: str, *, one_line_each: bool) -> str:
    """Write for programs."""
    if output == "yaml":
        text = msgspec.yaml.encode(content).decode().removesuffix("\n")
        return f"---\n{text}" if one_line_each else text
    return printable(json.dumps(content, ensure_ascii=False)) if one_line_each else pretty(content)


async def offer(kind: str) -> int:
    """Print what a shell may complete, each with what it is; nothing at all where there is no cluster."""
    try:
        async with connect(nats_url("", None), "cli", wait_s=COMPLETION_WAIT_S) as bus:
            for value, what in await completions(bus, kind):
                say(f"{one_line(value)}\t{one_line(what)}")
    except (BusFailed, Refused):
        return EXIT_NO
    return EXIT_OK


async def take_over(given: argparse.Namespace) -> int:
    """Import an existing installation and print what became of it."""
    nodes, mistakes = read_nodes(given.nodes, read(given.nodes))
    routes, more = read_routes(given.routes, read(given.routes)) if given.routes else ([], [])
    if mistakes or more:
        raise Refused("nothing was imported:\n" + "\n".join([*mistakes, *more]))
    lines: list[str] = []
    programs = given.output in PROGRAMS
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        result = await Takeover(bus, now_ms(), lines.append if programs else say).run(nodes, routes)
    if programs:
        say(written({**result.counts(), "said": lines}, given.output, one_line_each=False))
    else:
        say(f"nodes: {result.nodes}; tasks: {result.routes}")
    return EXIT_OK if result.complete else EXIT_NO
