"""The operators' words without telnet: `clusterodm node list`, `clusterodm task info ID`, `clusterodm import nodes.json`.

The same commands and answers as telnet and web, over the bus. Lists are tables for people, `--json` is for programs.
Exit codes: 0 done · 1 the answer is no · 2 wrong usage or a mistake in a file · 3 the cluster does not answer.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Final

from libs.common.errors import BusFailed, ClusterError, Refused
from libs.common.lifecycle import now_ms
from libs.common.log import configure
from services.admin.api.finding import nats_url
from services.admin.api.grammar import Arguments, parser
from services.admin.api.reading import read
from services.admin.core import words
from services.admin.core.existing import read_nodes, read_routes
from services.admin.core.objects import document
from services.admin.core.tables import exit_code, human
from services.admin.core.text import pretty
from services.admin.handlers.takeover import TakeOver
from services.admin.handlers.words import execute

EXIT_OK: Final = 0
EXIT_NO: Final = 1
EXIT_USAGE: Final = 2
EXIT_AWAY: Final = 3
NATS_WAIT_S: Final = 5.0


def main(argv: Sequence[str]) -> int:
    """Carry out one command, the noun included; the exit code."""
    configure("cli", "error", as_json=False)
    try:
        given = parser().parse_args(argv)
        return asyncio.run(take_over(given) if given.noun == "import" else carry_out(given))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        return complain(error, EXIT_USAGE)
    except BusFailed as error:
        return complain(error, EXIT_AWAY)
    except KeyboardInterrupt:
        return EXIT_NO


def complain(error: ClusterError, code: int) -> int:
    """Say on stderr what is wrong."""
    print(f"clusterodm: {error.message}", file=sys.stderr)  # noqa: T201 the program's output
    return code


async def carry_out(given: Arguments) -> int:
    """Ask for one command and print its answer."""
    from libs.common.bus import connect  # half of all imports, and help and mistakes do not need it

    command: words.Command = given.command(given)
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
    from libs.common.bus import connect  # as above

    said: list[str] = []
    async with connect(nats_url(given.nats_url, given.data_dir), "cli", wait_s=NATS_WAIT_S) as bus:
        result = await TakeOver(bus, now_ms(), said.append if given.json else print).run(nodes, routes)
    if given.json:
        print(json.dumps({**result.counts(), "said": said}, indent=2))  # noqa: T201 the program's output
    else:
        print(f"nodes: {result.nodes}; tasks: {result.routes}")  # noqa: T201 the program's output
    return EXIT_OK if result.complete else EXIT_NO
