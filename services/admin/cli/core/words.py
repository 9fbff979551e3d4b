"""The words of the command line, as a table: grammar, help and completion are all made of it.

Loads nothing but what reads arguments: help, mistakes and completion wait for no message and no bus.
"""

from collections.abc import Mapping
from typing import Final

from clusterodm.services.admin.cli.core.arguments import Argument, Noun, Verb

STATES: Final = ("uploading", "waiting", "forwarding", "running", "completed", "failed", "canceled")
TASK_SORTS: Final = ("committed", "ended", "name", "images", "processing_time")
"""As pages and API sort tasks: each is one of TaskOrder."""
ORDERS: Final = ("desc", "asc")
OUTPUTS: Final = ("table", "wide", "json", "yaml")
TABLE_OUTPUTS: Final = (*OUTPUTS, "csv")
"""Of words whose answer is a table of figures."""
SHELLS: Final = ("bash", "zsh", "fish")

NODE: Final = Argument("number", "its number in `node list`", "number", completes="node")
ONLY_NODE: Final = Argument("number", "only this node's", "number", optional=True, completes="node")
TASK: Final = Argument("task", "its id, or as much of its beginning as no other has", shown="TASK", completes="task")
IMAGES: Final = Argument("images", "number of images", "count")
MACHINE: Final = Argument("machine", "its number in `asr list`, or its name", shown="MACHINE", completes="machine")
ANY_MACHINE: Final = Argument(
    "machine", "its number in `asr list`, or its name, also after it has ended", shown="MACHINE", completes="machine"
)
LINE: Final = Argument("line", "from this line on; negative: the last lines", "line", optional=True, otherwise=0)
WATCH: Final = Argument(
    "--watch", "show it again every so many seconds", "seconds", short="-w", optional=True, otherwise=2, shown="SECONDS"
)
SINCE: Final = Argument(
    "--since", "from then on: 30m, 12h, 7d, or a time such as 2026-05-01T12:00", "since", shown="WHEN"
)
TIMEOUT: Final = Argument("--timeout", "give up after so long: 90s, 30m, 2h", "duration", shown="TIME")
COMMON: Final = (
    Argument("--output", "how it is shown; wide: nothing is shortened", short="-o", choices=OUTPUTS),
    Argument("--json", "the same as -o json", switch=True),
    Argument("--nats-url", "NATS server of the cluster", otherwise="", shown="URL"),
    Argument("--data-dir", "directory of a cluster on this computer (default: data)", shown="DIR", completes="file"),
)
"""The flags that every word has."""

NODES: Final = (
    Verb(
        "list",
        "list the nodes with their numbers",
        (WATCH,),
        (("node list --watch", "until Ctrl-C"), ("node list -o yaml", "for programs")),
    ),
    Verb("update", "ask every node for its state now"),
    Verb(
        "add",
        "register a NodeODM node",
        (
            Argument("hostname"),
            Argument("port", "", "port"),
            Argument("token", "visible in the process list; better: --token-file", optional=True, otherwise=""),
            Argument(
                "--token-file",
                "read the token from a file, or from standard input with -",
                shown="FILE",
                completes="file",
            ),
            Argument("--labels", "what it is to be called, with commas between", otherwise="", shown="LABEL,..."),
        ),
        (("node add 192.168.1.20 3000 --token-file -", "asks for the token"),),
    ),
    Verb("del", "forget a node", (NODE,)),
    Verb("lock", "send no new tasks to a node", (NODE,)),
    Verb("unlock", "send tasks to a node again", (NODE,)),
    Verb(
        "drain",
        "forget a node when it has no task left",
        (NODE, Argument("--seconds", "then move what still waits there for its turn", "seconds", shown="SECONDS")),
        (("node drain 3 --seconds 600", "what waits there moves after ten minutes"),),
    ),
    Verb(
        "label",
        "give a node these labels and no others",
        (
            NODE,
            Argument(
                "labels", "tenant=NAME reserves it for a tenant; none: it has no label", several=True, optional=True
            ),
        ),
        (("node label 3 gpu tenant=survey", "only survey's tasks go there"), ("node label 3", "anybody's, again")),
    ),
    Verb("info", "show all that is known of a node", (NODE,)),
    Verb("best", "show where a task would go", (IMAGES,)),
)
TASKS: Final = (
    Verb(
        "list",
        "list tasks: those that wait, and uploads in progress, too",
        (
            ONLY_NODE,
            Argument(
                "--state",
                f"only these, separated by commas: {', '.join(STATES)}",
                "states",
                shown="STATE",
                offers=STATES,
            ),
            Argument("--owner", "only this owner's (the digest of a token)", shown="OWNER"),
            SINCE._replace(about=f"committed {SINCE.about}"),
            Argument(
                "--limit", "no more than so many: the newest of them, or the first of a sorted list", "count", shown="N"
            ),
            Argument(
                "--sort", "by what, as on the page: the newest, last ended, longest, ... first", choices=TASK_SORTS
            ),
            Argument("--order", "of a sorted list: asc turns it round", choices=ORDERS),
        ),
        (
            ("task list --state failed --since 24h", "what failed since yesterday"),
            ("task list --state waiting,running --limit 20", "what there is to do"),
            ("task list --sort processing_time --limit 10", "what took the longest"),
        ),
    ),
    Verb("info", "show the state of a task", (TASK,), (("task info 5b3a", "the beginning of an id is enough"),)),
    Verb(
        "output",
        "show a task's console",
        (TASK, LINE, Argument("--follow", "go on until the task has ended", short="-f", switch=True)),
        (("task output 5b3a -20", "the last lines"), ("task output 5b3a -f", "until it has ended")),
    ),
    Verb(
        "wait",
        "wait until tasks have ended; fails when one of them failed or was canceled",
        (TASK._replace(several=True), TIMEOUT),
        (("task wait 5b3a --timeout 2h && make report", "go on with its result"),),
    ),
    Verb("cancel", "stop a task", (TASK,)),
    Verb("remove", "delete a task and its results", (TASK,)),
    Verb("restart", "run a task again that has ended", (TASK,)),
    Verb(
        "priority",
        "let a waiting task go sooner or later than others",
        (TASK, Argument("priority", "-10 to 10, added to its tenant's; 0: as usual", "priority")),
        (("task priority 5b3a 5", "before all of priority 4 and less"),),
    ),
    Verb("up", "move a waiting task in front of its owner's others", (TASK,)),
)
ROUTES: Final = (
    Verb("list", "list which node has which task", (ONLY_NODE,)),
    Verb("info", "show which node has a task", (TASK,)),
)
MACHINES: Final = (
    Verb("list", "list the machines with their numbers", (WATCH,)),
    Verb("status", "show what the autoscaler does, and why"),
    Verb("destroy", "destroy a machine; a task on it gets a new attempt", (MACHINE,)),
    Verb(
        "output",
        "show what a machine has said while it booted",
        (ANY_MACHINE, LINE, Argument("--follow", "go on until it has booted", short="-f", switch=True)),
        (("asr output 1 -f", "why does it take so long?"),),
    ),
    Verb("pause", "start no more machines", (Argument("reason", "shown in the status", optional=True, otherwise=""),)),
    Verb("resume", "start machines again"),
    Verb("viewcmd", "show the command that would start a machine", (IMAGES,)),
    Verb(
        "plan",
        "show what would be done now and why, without doing it",
        (
            Argument(
                "--demand", "for the tasks of a JSON file, instead of those that wait", shown="FILE", completes="file"
            ),
            Argument("--asr", "by a configuration alone, without a cluster", shown="FILE", completes="file"),
        ),
        (("asr plan --asr asr.json --demand demand.json", "before anything is rented"),),
    ),
    Verb(
        "check",
        "find the mistakes in a configuration, without a cluster",
        (Argument("file", completes="file"),),
        (("asr check asr.json", "a line for each mistake"),),
    ),
    Verb(
        "snapshot",
        "make a snapshot with the node's image in it, list and delete them, without a cluster",
        (Argument("file", completes="file"),),
        (("asr snapshot asr.json", "at digitalocean or hetzner; --help says more"),),
    ),
)
EVENTS: Final = (
    Verb(
        "",
        "show what has happened",
        (
            Argument("about", "only what is about this: task, task.finished, a node or a task's id", optional=True),
            Argument("--follow", "go on with what happens", short="-f", switch=True),
            SINCE,
            Argument(
                "--limit", "no more than so many of the past: the newest of them (default: 100)", "count", shown="N"
            ),
        ),
        (
            ("events -f", "what happens from now on, after the last hundred"),
            ("events task.finished --since 24h", "what has ended since yesterday"),
            ("events -f -o json", "a JSON object a line"),
        ),
    ),
)
IMPORT: Final = (
    Verb(
        "",
        "take over an existing ClusterODM",
        (
            Argument("nodes", "data/nodes.json of the existing installation", shown="nodes.json", completes="file"),
            Argument("routes", "its data/routes.json", optional=True, shown="routes.json", completes="file"),
        ),
        (("import data/nodes.json data/routes.json", "may be run again"),),
    ),
)
COMPLETION: Final = (
    Verb(
        "",
        "write what makes a shell complete these words",
        (Argument("shell", choices=SHELLS),),
        (
            ("completion bash > /etc/bash_completion.d/clusterodm", "for every user"),
            ("completion zsh > ~/.zfunc/_clusterodm", "a directory of $fpath"),
            ("completion fish > ~/.config/fish/completions/clusterodm.fish", "for you"),
        ),
    ),
)
LOGS: Final = (
    Verb(
        "level",
        "log more or less from now on, until a restart",
        (
            Argument("level", choices=("debug", "info", "warning", "error")),
            Argument(
                "service",
                "one service; all of them where none is given",
                optional=True,
                otherwise="",
                choices=("", "proxy", "scheduler", "autoscaler", "admin"),
            ),
        ),
        (("log level debug scheduler", "why does nothing happen?"), ("log level info", "as before")),
    ),
)
USAGE: Final = (
    Verb(
        "usage",
        "show what tenants have used: tasks, images, bytes, time of nodes, their share of machines",
        (
            Argument("tenant", "only this one", optional=True, otherwise=""),
            Argument("--since", "from this day or month on: 2026-11-27, 2026-11", "day", otherwise="", shown="DAY"),
            Argument("--until", "until this day or month, and with it", "day", otherwise="", shown="DAY"),
            Argument("--by", "what a row is of (default: month)", otherwise="month", choices=("day", "month", "total")),
            Argument("--output", "how it is shown; csv for programs for tables", short="-o", choices=TABLE_OUTPUTS),
        ),
        (
            ("tenant usage --since 2026-11", "of this month"),
            ("tenant usage survey --by day -o csv > survey.csv", "for a bill"),
        ),
    ),
)
CHECK_NOTE: Final = "`clusterodm asr check FILE` and `clusterodm asr snapshot FILE` need no cluster."
TENANT_NOTE: Final = (
    "`clusterodm tenant list|set|remove` and `clusterodm token` are about the file of tokens, and need no cluster."
)
NOUNS: Final[Mapping[str, Noun]] = {
    noun.name: noun
    for noun in (
        Noun("node", "the nodes of the cluster", NODES),
        Noun("task", "the tasks of the cluster", TASKS),
        Noun("route", "which node has which task", ROUTES),
        Noun("tenant", "what tenants have used", USAGE, TENANT_NOTE),
        Noun("asr", "the autoscaler and its machines", MACHINES, CHECK_NOTE),
        Noun("events", "what has happened, and what happens", EVENTS),
        Noun("log", "what the services log", LOGS),
        Noun("import", "take over an existing ClusterODM", IMPORT),
        Noun("completion", "completion for bash, zsh and fish", COMPLETION),
    )
}
"""All of them, in the order of the help."""


def flags_of_all() -> set[str]:
    """Name every flag of every word."""
    verbs = [verb for noun in NOUNS.values() for verb in noun.verbs]
    flags = [each for verb in verbs for each in verb.arguments if each.is_flag] + list(COMMON)
    return {name for each in flags for name in (each.name, each.short) if name}
