"""The program `clusterodm`: its first word chooses what runs. Only that is imported, so that every word starts quickly."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Final, cast

from clusterodm.libs.common.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from clusterodm.libs.common.process import printing
from clusterodm.libs.common.secret import HIDDEN

PROG: Final = "clusterodm"

ADMIN_WORDS: Final = "clusterodm.services.admin.cli.api.program"
TOKEN_WORDS: Final = "clusterodm.services.admin.tokens.words"  # noqa: S105 a module
WITH_NOUN: Final = frozenset((ADMIN_WORDS, TOKEN_WORDS))
"""Modules that carry out several words, and are told which."""
ASR_WORDS: Final = "clusterodm.services.autoscaler.asr_words"
MODULES: Final = {
    "up": "clusterodm.deploy.local",
    "copy-nats": "clusterodm.deploy.copying",
    "proxy": "clusterodm.services.proxy.main",
    "scheduler": "clusterodm.services.scheduler.main",
    "autoscaler": "clusterodm.services.autoscaler.main",
    "admin": "clusterodm.services.admin.main",
    "node": ADMIN_WORDS,
    "route": ADMIN_WORDS,
    "task": ADMIN_WORDS,
    "asr": ADMIN_WORDS,
    "log": ADMIN_WORDS,
    "events": ADMIN_WORDS,
    "import": ADMIN_WORDS,
    "completion": ADMIN_WORDS,
    "token": TOKEN_WORDS,
    "tenant": TOKEN_WORDS,
    "hash-password": "clusterodm.services.admin.cli.api.hashing",
}
"""Which module's `main(argv) -> exit code` carries out a word."""
SERVICES: Final = frozenset(("up", "proxy", "scheduler", "autoscaler", "admin"))
HELP_FLAGS: Final = frozenset(("-h", "--help", "--help-all"))
ALONE: Final = {
    ("asr", "check"): (ASR_WORDS, "check"),
    ("asr", "snapshot"): (ASR_WORDS, "snapshot"),
}
"""What needs no cluster: the autoscaler's own modules do it."""
PLAN: Final = ("asr", "plan")
"""The same, when it is told which configuration (`--asr`)."""

USAGE: Final = ("tenant", "usage")
"""Is asked of the cluster, unlike the other words about tenants."""

HELP: Final = """\
One address for many NodeODM machines.

A whole cluster on this computer:
  clusterodm up --demo                     with two simulated nodes, to look around
  clusterodm up --node HOST:PORT ...       with your nodes; then: http://localhost:3000

Words for a running cluster:
  clusterodm node list|add|del|info|lock|unlock|drain|label|update|best
  clusterodm task list|info|output|wait|cancel|remove|restart|priority|up
  clusterodm events -f                     what happens
  clusterodm route list|info               which node has which task
  clusterodm asr list|status|destroy|output|pause|resume|viewcmd|plan
                                           the autoscaler and its machines
  clusterodm log level debug|info|warning|error [SERVICE]
                                           what the services log, from now on
  clusterodm asr check FILE                mistakes in an autoscaler's configuration; needs no cluster
  clusterodm asr snapshot FILE             a snapshot with the node's image in it, from which machines start faster
  clusterodm token create|list|revoke|rotate
                                           tokens for clients, in a file (--tokens); needs no cluster
  clusterodm tenant list|set|remove        whom tasks belong to, and what each may do
  clusterodm tenant usage [TENANT]         what each has used, by month or day; -o csv for a bill
  clusterodm import nodes.json [routes.json]
                                           take over an existing ClusterODM
  clusterodm completion bash|zsh|fish      completion for your shell
  clusterodm hash-password                 for --admin-pass and the like
  clusterodm copy-nats --nats-from WHERE   all records of one NATS into another (--nats-url), say of one server into three

One service by itself, for several computers (they meet at --nats-url):
  clusterodm proxy                         the HTTP API for clients, port 3000
  clusterodm scheduler                     nodes, tasks, the queue
  clusterodm autoscaler                    rents machines while tasks wait
  clusterodm admin                         telnet on 8080, web page on 10000

Some examples:
  clusterodm task list --state failed --since 24h
  clusterodm task output 5b3a -f           the console, as it grows; the beginning of an id is enough
  clusterodm task wait 5b3a --timeout 2h   until it has ended; exit code 0 when it is completed
  clusterodm node list --watch
  clusterodm node list -o json             or yaml, or wide

Each word explains itself: clusterodm up --help, clusterodm node --help, ...
Every flag is also an environment variable (--admin-pass: CLUSTERODM_ADMIN_PASS) and a key of the --config file.
"""

SECRET_FLAGS: Final = frozenset(
    (
        *("--token", "--admin-pass", "--admin-operator-pass", "--admin-viewer-pass", "--admin-oidc-secret"),
        *("--admin-cli-pass", "--nats-url", "--nats-from", "--node"),
    )
)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit code. Ctrl-C before a program listens for it ends it as quietly as afterwards."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)  # what is opened next takes a place that is free, and no child keeps this one
    if sys.stdout is None and not may_print_nothing(words):
        return printing.given_up(printing.CLOSED, PROG)
    sys.stdout, sys.stderr = sys.stdout or printing.to_nobody(), sys.stderr or printing.to_nobody()
    printing.show_what_cannot_be_written(sys.stdout)
    try:
        return printed(words)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        if printing.is_of_output(error):
            return printing.given_up(error, PROG)
        raise


def may_print_nothing(words: Sequence[str]) -> bool:
    """Whether a word does its work without standard output: services, unless it is help that is asked for."""
    return bool(words) and words[0] in SERVICES and not HELP_FLAGS.intersection(words)


def printed(words: list[str]) -> int:
    """Carry out one command, and see that all of what it prints is written. Raises OSError."""
    try:
        return carried_out(words)
    finally:
        sys.stdout.flush()


def carried_out(words: list[str]) -> int:
    """Find out what is to be done, and do it."""
    word = words[0] if words else "--help"
    if word in {"-h", "--help", "help"}:
        return say(HELP)
    if word in {"-V", "--version", "version"}:
        return say(f"{PROG} {version()}\n")
    if word not in MODULES:
        return refuse(word)
    leave_out_what_nobody_uses()
    hide_secrets(words)
    if tuple(words[:2]) == PLAN and any(word.partition("=")[0] == "--asr" for word in words):
        return int(import_module(ASR_WORDS).show_plan(words[2:]))
    if tuple(words[:2]) in ALONE:
        place, function = ALONE[words[0], words[1]]
        return int(getattr(import_module(place), function)(words[2:]))
    module = ADMIN_WORDS if tuple(words[:2]) == USAGE else MODULES[word]
    carry_out = cast("Callable[[Sequence[str]], int]", imported(module).main)
    return carry_out(words if module in WITH_NOUN else words[1:])


def hide_secrets(words: Sequence[str]) -> None:
    """Take secrets that were given as flags out of what `ps` shows of this process, and of those that it forks."""
    shown = without_secrets(words)
    if shown != list(words):
        import setproctitle

        setproctitle.setproctitle(" ".join((PROG, *shown)))


def without_secrets(words: Sequence[str]) -> list[str]:
    """Replace the values of flags that hold secrets."""
    shown: list[str] = []
    hides_next = False
    for word in words:
        flag, equals, _ = word.partition("=")
        is_secret = flag in SECRET_FLAGS
        shown.append(HIDDEN if hides_next else f"{flag}={HIDDEN}" if is_secret and equals else word)
        hides_next = is_secret and not equals
    return shown


def imported(name: str) -> ModuleType:
    """Import a module. The collector of garbage would only get in the way: nothing is given up meanwhile."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.enable()


def leave_out_what_nobody_uses() -> None:
    """Keep structlog from loading `rich` where it happens to be installed: 8 MB and a tenth of a second, for plain tracebacks."""
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # None: it cannot be imported


def say(text: str) -> int:
    """Print what was asked for."""
    sys.stdout.write(text)
    return EXIT_OK


def refuse(word: str) -> int:
    """Say that there is no such word, and which one may have been meant."""
    if word.startswith("-"):
        hint = f"the flags come after a word: {PROG} up {word} ..."
    else:
        import difflib  # only mistakes need it

        near = difflib.get_close_matches(word, MODULES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(MODULES)}"
    sys.stderr.write(f"{PROG}: unknown word {word!r}; {hint} ({PROG} --help)\n")
    return EXIT_USAGE


def version() -> str:
    """Look up the version of this program."""
    from clusterodm.libs.common.version import VERSION

    return VERSION


if __name__ == "__main__":
    raise SystemExit(main())
