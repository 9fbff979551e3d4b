"""The grammar of the command line: nouns, verbs and arguments, and which command each of them is."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from libs.common.errors import Refused
from libs.common.hosts import bare
from services.admin.api.reading import read_secret
from services.admin.core import words
from services.admin.core.words import NodeAct, TaskAct

EPILOG: Final = (
    "Exit codes: 0 done, 1 the answer is no or it failed, 2 wrong usage or a mistake in a file, 3 the cluster does not answer. "
    "The cluster is found by --nats-url, CLUSTERODM_NATS_URL, or cluster.json in --data-dir."
)

CHECKING: Final = "Beside these, without a cluster: `clusterodm asr check FILE` finds the mistakes in a configuration."

Arguments = argparse.Namespace
Read = Callable[[Arguments], words.Command]
Adder = Callable[[str, str, Read], argparse.ArgumentParser]
"""Adds one command below a noun: its verb, what it does, and how the arguments become a command."""


def parser() -> argparse.ArgumentParser:
    """Make the grammar of the command line."""
    top = argparse.ArgumentParser(prog="clusterodm", epilog=EPILOG)
    nouns = top.add_subparsers(dest="noun", required=True, metavar="node|route|task|asr|import")
    node_words(nouns.add_parser("node", help="the nodes of the cluster", epilog=EPILOG))
    route_words(nouns.add_parser("route", help="which node has which task", epilog=EPILOG))
    task_words(nouns.add_parser("task", help="the tasks of the cluster", epilog=EPILOG))
    asr_words(nouns.add_parser("asr", help="the autoscaler", description=CHECKING, epilog=EPILOG))
    takeover = nouns.add_parser("import", parents=[common()], epilog=EPILOG, help="take over an existing ClusterODM")
    takeover.add_argument("nodes", metavar="nodes.json", help="data/nodes.json of the existing installation")
    takeover.add_argument("routes", metavar="routes.json", nargs="?", help="its data/routes.json")
    return top


def common() -> argparse.ArgumentParser:
    """Make the flags that every command has."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--json", action="store_true", help="print JSON")
    flags.add_argument("--nats-url", default="", help="NATS server of the cluster")
    flags.add_argument(
        "--data-dir", type=Path, default=None, help="directory of a cluster on this machine (default: data)"
    )
    return flags


def below(noun: argparse.ArgumentParser) -> Adder:
    """Make the function that adds verbs to a noun."""
    verbs = noun.add_subparsers(dest="verb", required=True)

    def add(verb: str, said: str, command: Read) -> argparse.ArgumentParser:
        made = verbs.add_parser(verb, parents=[common()], help=said, description=said, epilog=EPILOG)
        made.set_defaults(command=command)
        return made

    return add


def node_words(noun: argparse.ArgumentParser) -> None:
    """Add `node ...`."""
    add = below(noun)
    add("list", "list the nodes with their numbers", lambda _: words.ListNodes())
    add("update", "ask every node for its state now", lambda _: words.UpdateNodes())
    adding = add(
        "add", "register a NodeODM node", lambda given: words.AddNode(bare(given.hostname), given.port, token_of(given))
    )
    adding.add_argument("hostname")
    adding.add_argument("port", type=port)
    adding.add_argument("token", nargs="?", default="", help="visible in the process list; better: --token-file")
    adding.add_argument(
        "--token-file", metavar="PATH", help="read the token from a file, or from standard input with -"
    )
    for verb, said, act in (
        ("del", "forget a node", NodeAct.DEL),
        ("lock", "send no new tasks to a node", NodeAct.LOCK),
        ("unlock", "send tasks to a node again", NodeAct.UNLOCK),
    ):
        add(verb, said, changing_node(act)).add_argument("number", type=number)
    draining = add(
        "drain", "forget a node when it has no task left", lambda given: words.DrainNode(given.number, given.seconds)
    )
    draining.add_argument("number", type=number)
    draining.add_argument("--seconds", type=seconds, help="then move what still waits there for its turn")
    add("info", "show all that is known of a node", lambda given: words.ShowNode(given.number)).add_argument(
        "number", type=number
    )
    add("best", "show where a task would go", lambda given: words.BestNode(given.images)).add_argument(
        "images", type=count
    )


def changing_node(act: NodeAct) -> Read:
    """Make the reader of a command that changes a node."""
    return lambda given: words.ChangeNode(act, given.number)


def changing_task(act: TaskAct) -> Read:
    """Make the reader of a command that changes a task."""
    return lambda given: words.ChangeTask(act, given.task)


def route_words(noun: argparse.ArgumentParser) -> None:
    """Add `route ...`."""
    add = below(noun)
    add("list", "list which node has which task", lambda given: words.ListRoutes(given.number)).add_argument(
        "number", type=number, nargs="?", help="only this node's"
    )
    add("info", "show which node has a task", lambda given: words.ShowRoute(given.task)).add_argument("task")


def task_words(noun: argparse.ArgumentParser) -> None:
    """Add `task ...`."""
    add = below(noun)
    add("list", "list tasks, waiting ones too", lambda given: words.ListTasks(given.number)).add_argument(
        "number", type=number, nargs="?", help="only this node's"
    )
    add("info", "show the state of a task", lambda given: words.ShowTask(given.task)).add_argument("task")
    output = add("output", "show a task's console", lambda given: words.ShowConsole(given.task, given.line))
    output.add_argument("task")
    output.add_argument("line", type=int, nargs="?", default=0, help="from this line on; negative: the last lines")
    for verb, said, act in (
        ("cancel", "stop a task", TaskAct.CANCEL),
        ("remove", "delete a task and its results", TaskAct.REMOVE),
    ):
        add(verb, said, changing_task(act)).add_argument("task")


def asr_words(noun: argparse.ArgumentParser) -> None:
    """Add `asr ...`."""
    add = below(noun)
    add(
        "viewcmd", "show the command that would start a machine", lambda given: words.ViewMachineCommand(given.images)
    ).add_argument("images", type=count)
    add("list", "list the machines with their numbers", lambda _: words.ListMachines())
    add("status", "show what the autoscaler does, and why", lambda _: words.ShowAutoscaler())
    add(
        "destroy",
        "destroy a machine; a task on it gets a new attempt",
        lambda given: words.DestroyMachine(given.number),
    ).add_argument("number", type=number)
    pausing = add("pause", "start no more machines", lambda given: words.PauseAutoscaler(given.reason))
    pausing.add_argument("reason", nargs="?", default="", help="shown in the status")
    add("resume", "start machines again", lambda _: words.ResumeAutoscaler())


def number(text: str) -> int:
    """Read the number of a node or of a machine."""
    if not (found := words.node_number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of the list")
    return found


def seconds(text: str) -> int:
    """Read a number of seconds."""
    if (found := words.whole(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return found


def count(text: str) -> int:
    """Read a number of images."""
    if (found := words.whole(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images")
    return found


def port(text: str) -> int:
    """Read a port."""
    if (found := words.port(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1 to 65535)")
    return found


def token_of(given: Arguments) -> str:
    """Find the token of a new node. Raises Refused."""
    if given.token and given.token_file:
        raise Refused("either a token or --token-file, not both")
    return read_secret(given.token_file) if given.token_file else str(given.token)
