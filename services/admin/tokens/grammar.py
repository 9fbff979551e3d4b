"""The grammar of `clusterodm token ...` and `clusterodm tenant ...`."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clusterodm.libs.common.settings.grammar import Grammar
from clusterodm.services.admin.cli.core.words import OUTPUTS
from clusterodm.services.admin.commands.core.command_numbers import line_number
from clusterodm.services.admin.tenants.core.file import duration_ms, listed_labels, size_bytes

EPILOG: Final = """\
examples:
  clusterodm token create survey --weight 3 --tasks-at-once 8
  clusterodm token create guest --expires 30d --max-images 500 --task-size 20GB
  clusterodm token rotate 1f3a09bc --overlap 24h
  clusterodm up --tokens data/tokens.json

The file is --tokens, else tokens.json in --data-dir, else CLUSTERODM_TOKENS, else tokens.json in CLUSTERODM_DATA_DIR, or in data. Proxies see a change within two seconds."""


class GrammarTree(Grammar):
    """A parser, and those of the words below it."""

    def flags(self) -> Iterator[str]:
        """Name all flags, those of the words below, too."""
        yield from super().flags()
        for action in self._actions:
            for below in action.choices.values() if isinstance(action.choices, dict) else ():
                yield from below.flags()


def parser() -> Grammar:
    """Make the grammar."""
    top = GrammarTree(prog="clusterodm")
    nouns = top.add_subparsers(dest="noun", required=True, metavar="token|tenant")
    form = argparse.RawDescriptionHelpFormatter
    token_words(nouns.add_parser("token", help="the tokens of clients", epilog=EPILOG, formatter_class=form))
    tenant_words(nouns.add_parser("tenant", help="who tasks belong to", epilog=EPILOG, formatter_class=form))
    return top


def common() -> Grammar:
    """Make the flags that every word has."""
    flags = Grammar(add_help=False)
    flags.add_argument("-o", "--output", choices=OUTPUTS, help="how it is shown; json and yaml are for programs")
    flags.add_argument("--json", action="store_const", const="json", dest="output", help="the same as -o json")
    flags.add_argument("--tokens", type=Path, metavar="FILE", help="the file of tokens")
    flags.add_argument("--data-dir", type=Path, metavar="DIR", help="the data directory, whose tokens.json it is")
    return flags


def limit_flags() -> Grammar:
    """Make the flags that say what a tenant may do; those that are not given change nothing."""
    flags = Grammar(add_help=False)
    flags.add_argument("--weight", type=whole, help="share of the slots against other tenants that wait, 1 to 1000")
    flags.add_argument("--priority", type=whole, help="who goes first, whatever the weights, -10 to 10")
    flags.add_argument("--max-images", dest="max_images_count", type=whole, help="images of one task; 0: no limit")
    flags.add_argument("--task-size", dest="max_task_bytes", type=sized, help="size of one task, as 50GB; 0: no limit")
    flags.add_argument(
        "--tasks-at-once",
        dest="tasks_at_once_count",
        type=whole,
        help="tasks under way at once; more wait; 0: no limit",
    )
    flags.add_argument("--storage", dest="storage_bytes", type=sized, help="all files kept, as 1TB; 0: no limit")
    flags.add_argument(
        "--options",
        metavar="FILE",
        help='JSON with limits of options: {"orthophoto-resolution": {"domain": "float >= 2"}}',
    )
    flags.add_argument(
        "--labels",
        type=labeled,
        metavar="LABEL,...",
        help="its tasks go only to nodes with all of these labels; '': to any that is not reserved for others",
    )
    return flags


def token_words(noun: argparse.ArgumentParser) -> None:
    """Add `token ...`."""
    verbs = noun.add_subparsers(dest="verb", required=True, metavar="create|list|revoke|rotate")
    create = verbs.add_parser(
        "create", parents=[common(), limit_flags()], help="make a token; a tenant that is new is begun with it"
    )
    create.add_argument("tenant", help="whose token it is: small letters, digits, - and _")
    create.add_argument("--expires", type=lasting, metavar="TIME", help="after so long it counts no more, as 90d")
    create.add_argument("--note", default="", help="what it is for; shown in the list")
    create.add_argument(
        "--token-file",
        metavar="PATH",
        help="take over a token that is in use, from a file or with - from standard input, and its tasks with it",
    )
    verbs.add_parser("list", parents=[common()], help="list the tokens")
    revoke = verbs.add_parser("revoke", parents=[common()], help="let tokens count no more, within seconds")
    revoke.add_argument("id", nargs="*", help="id of a token, or its beginning")
    revoke.add_argument("--tenant", default="", help="all tokens of this tenant")
    rotate = verbs.add_parser("rotate", parents=[common()], help="make another token for the tenant of one")
    rotate.add_argument("id", help="id of the token that goes")
    rotate.add_argument(
        "--overlap",
        type=lasting,
        default="24h",
        metavar="TIME",
        help="how long the old one still counts (24h); 0s: not at all",
    )
    rotate.add_argument("--expires", type=lasting, metavar="TIME", help="after so long the new one counts no more")


def tenant_words(noun: argparse.ArgumentParser) -> None:
    """Add `tenant ...`."""
    verbs = noun.add_subparsers(dest="verb", required=True, metavar="list|set|remove|usage")
    verbs.add_parser("usage", help="show what tenants have used; asks the cluster")  # deploy/cli.py does it
    verbs.add_parser("list", parents=[common()], help="list tenants and their limits")
    change = verbs.add_parser("set", parents=[common(), limit_flags()], help="change what a tenant may do")
    change.add_argument("tenant")
    remove = verbs.add_parser("remove", parents=[common()], help="take a tenant and its tokens out")
    remove.add_argument("tenant")


def whole(text: str) -> int:
    """Read a whole number, which may be negative."""
    if (found := line_number(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return found


def sized(text: str) -> int:
    """Read a size."""
    try:
        return size_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def labeled(text: str) -> tuple[str, ...]:
    """Read labels."""
    try:
        return listed_labels(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def lasting(text: str) -> int:
    """Read a duration, in milliseconds."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
