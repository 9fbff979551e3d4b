"""The operators' commands as a program: `clusterodm node list`, `clusterodm task info ID`, `clusterodm import nodes.json`.

The same commands and answers as telnet and web, over the bus. Lists are tables for people, `-o json|yaml` is for programs.
Exit codes: 0 done · 1 the answer is no · 2 wrong usage or a mistake in a file · 3 the cluster does not answer.

Help, mistakes and completion are answered by core alone: what speaks with the cluster takes five times as long to load.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import Final

from clusterodm.libs.common.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from clusterodm.services.admin.cli.core.grammar import PROG, HelpRequested, WrongWord, read

VALUES: Final = ("completion", "--values")
NARROWEST: Final = 60
USUAL: Final = 100
WIDEST: Final = 110


def main(argv: Sequence[str]) -> int:
    """Carry out one command, the noun included; the exit code."""
    try:
        if tuple(argv[:2]) == VALUES:
            return carry_out(argparse.Namespace(noun="completion", verb="values", kind="".join(argv[2:3])))
        given = read(argv, width())
        return write_completion(given) if given.noun == "completion" else carry_out(given)
    except HelpRequested as asked:
        print(asked.text)  # noqa: T201 the program's output
        return EXIT_OK
    except WrongWord as error:
        print(f"{PROG}: {error}", file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def width() -> int:
    """Say how wide help may be."""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):  # a file, a pipe, or nothing at all
        columns = USUAL
    return min(max(columns, NARROWEST), WIDEST)


def write_completion(given: argparse.Namespace) -> int:
    """Print what a shell reads."""
    from clusterodm.services.admin.cli.core.completion import script

    print(script(given.shell), end="")  # noqa: T201 the program's output
    return EXIT_OK


def carry_out(given: argparse.Namespace) -> int:
    """Load what speaks with the cluster, and let it be done; the exit code."""
    gc.disable()  # nothing is given up before the program ends, or the cluster is waited for
    load_msgspec_alone()
    from clusterodm.libs.common.errors import BusFailed, Refused
    from clusterodm.libs.common.telemetry.lazy_log import log
    from clusterodm.services.admin.cli.api.session import run_short

    log.prepare, log.only_errors = log_errors, True
    try:
        if (code := run_short(given)) is not None:
            gc.freeze()  # nor is anything looked for as the program ends
            return code
        return carry_out_in_full(given)
    except Refused as error:
        return print_error(error.message, EXIT_USAGE)
    except UnicodeEncodeError:  # what Python makes of such bytes among the words cannot be sent
        return print_error("a word is no UTF-8", EXIT_USAGE)
    except BusFailed as error:
        return print_error(error.message, EXIT_UNAVAILABLE)
    finally:
        log.prepare, log.only_errors = None, False
        gc.enable()


def carry_out_in_full(given: argparse.Namespace) -> int:
    """Load an event loop and all of the bus; the exit code. Raises Refused, BusFailed."""
    import asyncio

    from clusterodm.services.admin.cli.api.session import run

    gc.enable()
    log_errors()
    return asyncio.run(run(given))


def load_msgspec_alone() -> None:
    """Load msgspec without typing_extensions, which it takes where it is and can do without: that takes longer to load than all of msgspec."""
    if "typing_extensions" not in sys.modules:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment] # it cannot be imported
        try:
            import msgspec  # noqa: F401 that it is loaded
        finally:
            del sys.modules["typing_extensions"]


def log_errors() -> None:
    """Let the log hold its tongue: what is wrong is the program's answer."""
    from clusterodm.libs.common.telemetry.log import configure

    configure("cli", "error", as_json=False)


def print_error(reason: str, code: int) -> int:
    """Say on stderr what is wrong; files and services may have been written by others."""
    from clusterodm.services.admin.rendering.text import printable

    print(f"{PROG}: {printable(reason)}", file=sys.stderr)  # noqa: T201 the program's output
    return code
