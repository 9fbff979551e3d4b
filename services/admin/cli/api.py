"""The operators' commands as a program: `clusterodm node list`, `clusterodm task info ID`, `clusterodm import nodes.json`.

The same commands and answers as telnet and web, over the bus. Lists are tables for people, `--json` is for programs.
Exit codes: 0 done · 1 the answer is no · 2 wrong usage or a mistake in a file · 3 the cluster does not answer.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from clusterodm.libs.common.errors import BusFailed, ClusterError, Refused
from clusterodm.libs.common.grammar import Grammar
from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.lifecycle import now_ms
from clusterodm.libs.common.log import configure
from clusterodm.services.admin.cli.adapters import nats_url, read, read_secret
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct
from clusterodm.services.admin.commands.handlers import execute
from clusterodm.services.admin.rendering.json_objects import document
from clusterodm.services.admin.rendering.text import exit_code, human, pretty
from clusterodm.services.admin.takeover.core import read_nodes, read_routes
from clusterodm.services.admin.takeover.handlers import Takeover

EXIT_OK: Final = 0
EXIT_NO: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 3
NATS_WAIT_S: Final = 5.0

EPILOG: Final = (
    "Exit codes: 0 done, 1 the answer is no or it failed, 2 wrong usage or a mistake in a file, 3 the cluster does not answer. "
    "The cluster is found by --nats-url, CLUSTERODM_NATS_URL, or cluster.json in --data-dir."
)

ASR_DESCRIPTION: Final = (
    "Beside these, without a cluster: `clusterodm asr check FILE` finds the mistakes in a configuration."
)

Arguments = argparse.Namespace
Read = Callable[[Arguments], commands.Command]
Adder = Callable[[str, str, Read], argparse.ArgumentParser]
"""Adds one command below a noun: its verb, what it does, and how the arguments become a command."""


def main(argv: Sequence[str]) -> int:
    """Carry out one command, the noun included; the exit code."""
    configure("cli", "error", as_json=False)
    try:
        given = parser().read(argv)
        return asyncio.run(take_over(given) if given.noun == "import" else carry_out(given))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        return print_error(error, EXIT_USAGE)
    except BusFailed as error:
        return print_error(error, EXIT_UNAVAILABLE)
    except KeyboardInterrupt:
        return EXIT_NO


def print_error(error: ClusterError, code: int) -> int:
    """Say on stderr what is wrong."""
    print(f"clusterodm: {error.message}", file=sys.stderr)  # noqa: T201 the program's output
    return code


async def carry_out(given: Arguments) -> int:
    """Ask for one command and print its answer."""
    from clusterodm.libs.common.bus import connect  # half of all imports, and help and mistakes do not need it

    command: commands.Command = given.command(given)
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        answer = await execute(bus, command)
    code = exit_code(answer)
    if given.json:
        print(pretty(document(answer)))  # noqa: T201 the program's output
    else:
        print(human(answer), file=sys.stderr if code else sys.stdout)
    return code


async def take_over(given: Arguments) -> int:
    """Import an existing installation and print what became of it."""
    nodes, mistakes = read_nodes(given.nodes, read(given.nodes))
    routes, more = read_routes(given.routes, read(given.routes)) if given.routes else ([], [])
    if mistakes or more:
        raise Refused("nothing was imported:\n" + "\n".join([*mistakes, *more]))
    from clusterodm.libs.common.bus import connect  # as above

    lines: list[str] = []
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        result = await Takeover(bus, now_ms(), lines.append if given.json else print).run(nodes, routes)
    if given.json:
        print(json.dumps({**result.counts(), "said": lines}, indent=2))  # noqa: T201 the program's output
    else:
        print(f"nodes: {result.nodes}; tasks: {result.routes}")  # noqa: T201 the program's output
    return EXIT_OK if result.complete else EXIT_NO


def parser() -> Grammar:
    """Make the grammar of the command line."""
    top = Grammar(prog="clusterodm", epilog=EPILOG)
    nouns = top.add_subparsers(dest="noun", required=True, metavar="node|route|task|asr|import")
    node_verbs(nouns.add_parser("node", help="the nodes of the cluster", epilog=EPILOG))
    route_verbs(nouns.add_parser("route", help="which node has which task", epilog=EPILOG))
    task_verbs(nouns.add_parser("task", help="the tasks of the cluster", epilog=EPILOG))
    asr_verbs(nouns.add_parser("asr", help="the autoscaler", description=ASR_DESCRIPTION, epilog=EPILOG))
    takeover = nouns.add_parser("import", parents=[common()], epilog=EPILOG, help="take over an existing ClusterODM")
    takeover.add_argument("nodes", metavar="nodes.json", help="data/nodes.json of the existing installation")
    takeover.add_argument("routes", metavar="routes.json", nargs="?", help="its data/routes.json")
    return top


def common() -> Grammar:
    """Make the flags that every command has."""
    flags = Grammar(add_help=False)
    flags.add_argument("--json", action="store_true", help="print JSON")
    flags.add_argument("--nats-url", default="", help="NATS server of the cluster")
    flags.add_argument(
        "--data-dir", type=Path, default=None, help="directory of a cluster on this machine (default: data)"
    )
    return flags


def verbs_of(noun: argparse.ArgumentParser) -> Adder:
    """Make the function that adds verbs to a noun."""
    verbs = noun.add_subparsers(dest="verb", required=True)

    def add(verb: str, help_line: str, command: Read) -> argparse.ArgumentParser:
        made = verbs.add_parser(verb, parents=[common()], help=help_line, description=help_line, epilog=EPILOG)
        made.set_defaults(command=command)
        return made

    return add


def node_verbs(noun: argparse.ArgumentParser) -> None:
    """Add `node ...`."""
    add = verbs_of(noun)
    add("list", "list the nodes with their numbers", lambda _: commands.ListNodesCommand())
    add("update", "ask every node for its state now", lambda _: commands.UpdateNodesCommand())
    adding = add(
        "add",
        "register a NodeODM node",
        lambda given: commands.AddNodeCommand(bare(given.hostname), given.port, token_of(given)),
    )
    adding.add_argument("hostname")
    adding.add_argument("port", type=port)
    adding.add_argument("token", nargs="?", default="", help="visible in the process list; better: --token-file")
    adding.add_argument(
        "--token-file", metavar="PATH", help="read the token from a file, or from standard input with -"
    )
    for verb, help_line, act in (
        ("del", "forget a node", NodeAct.DEL),
        ("lock", "send no new tasks to a node", NodeAct.LOCK),
        ("unlock", "send tasks to a node again", NodeAct.UNLOCK),
    ):
        add(verb, help_line, changing_node(act)).add_argument("number", type=number)
    draining = add(
        "drain",
        "forget a node when it has no task left",
        lambda given: commands.DrainNodeCommand(given.number, given.seconds),
    )
    draining.add_argument("number", type=number)
    draining.add_argument("--seconds", type=seconds, help="then move what still waits there for its turn")
    add("info", "show all that is known of a node", lambda given: commands.ShowNodeCommand(given.number)).add_argument(
        "number", type=number
    )
    add("best", "show where a task would go", lambda given: commands.BestNodeCommand(given.images)).add_argument(
        "images", type=count
    )


def changing_node(act: NodeAct) -> Read:
    """Make the reader of a command that changes a node."""
    return lambda given: commands.ChangeNodeCommand(act, given.number)


def changing_task(act: TaskAct) -> Read:
    """Make the reader of a command that changes a task."""
    return lambda given: commands.ChangeTaskCommand(act, given.task)


def route_verbs(noun: argparse.ArgumentParser) -> None:
    """Add `route ...`."""
    add = verbs_of(noun)
    add("list", "list which node has which task", lambda given: commands.ListRoutesCommand(given.number)).add_argument(
        "number", type=number, nargs="?", help="only this node's"
    )
    add("info", "show which node has a task", lambda given: commands.ShowRouteCommand(given.task)).add_argument("task")


def task_verbs(noun: argparse.ArgumentParser) -> None:
    """Add `task ...`."""
    add = verbs_of(noun)
    add("list", "list tasks, waiting ones too", lambda given: commands.ListTasksCommand(given.number)).add_argument(
        "number", type=number, nargs="?", help="only this node's"
    )
    add("info", "show the state of a task", lambda given: commands.ShowTaskCommand(given.task)).add_argument("task")
    output = add("output", "show a task's console", lambda given: commands.ShowConsoleCommand(given.task, given.line))
    output.add_argument("task")
    output.add_argument("line", type=int, nargs="?", default=0, help="from this line on; negative: the last lines")
    for verb, help_line, act in (
        ("cancel", "stop a task", TaskAct.CANCEL),
        ("remove", "delete a task and its results", TaskAct.REMOVE),
    ):
        add(verb, help_line, changing_task(act)).add_argument("task")


def asr_verbs(noun: argparse.ArgumentParser) -> None:
    """Add `asr ...`."""
    add = verbs_of(noun)
    add(
        "viewcmd",
        "show the command that would start a machine",
        lambda given: commands.ViewMachineCommand(given.images),
    ).add_argument("images", type=count)
    add("list", "list the machines with their numbers", lambda _: commands.ListMachinesCommand())
    add("status", "show what the autoscaler does, and why", lambda _: commands.ShowAutoscalerCommand())
    add(
        "destroy",
        "destroy a machine; a task on it gets a new attempt",
        lambda given: commands.DestroyMachineCommand(given.number),
    ).add_argument("number", type=number)
    pausing = add("pause", "start no more machines", lambda given: commands.PauseAutoscalerCommand(given.reason))
    pausing.add_argument("reason", nargs="?", default="", help="shown in the status")
    add("resume", "start machines again", lambda _: commands.ResumeAutoscalerCommand())
    add("check", "find the mistakes in a configuration, without a cluster", check_first).add_argument("file")


def check_first(given: Arguments) -> NoReturn:
    """Say how it is written: the autoscaler's own module does it, as it needs no cluster. Raises Refused."""
    raise Refused(f"write it so, without flags: clusterodm asr check {given.file}")


def number(text: str) -> int:
    """Read the number of a node or of a machine."""
    if not (found := commands.node_number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of the list")
    return found


def seconds(text: str) -> int:
    """Read a number of seconds."""
    if (found := commands.whole(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return found


def count(text: str) -> int:
    """Read a number of images."""
    if (found := commands.whole(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images")
    return found


def port(text: str) -> int:
    """Read a port."""
    if (found := commands.port(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1 to 65535)")
    return found


def token_of(given: Arguments) -> str:
    """Find the token of a new node. Raises Refused."""
    if given.token and given.token_file:
        raise Refused("either a token or --token-file, not both")
    return read_secret(given.token_file) if given.token_file else str(given.token)
