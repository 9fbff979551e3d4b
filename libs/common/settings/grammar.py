"""The grammar of the command line: argparse, which takes no abbreviations, repeats no values, and names what was probably meant; and two columns of help.

A flag that is not known may have been meant for a secret, and argparse would take its value for the next word and repeat it in
what it says of that. So flags are looked at before anything is read.
"""

import argparse
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NoReturn

from clusterodm.libs.common.exit_codes import EXIT_USAGE

CHOICE: Final = r"argument \S+: invalid choice: (?P<given>.+) \(choose from (?P<known>.+)\)"
"""What argparse says; read when it does."""
UNRECOGNIZED: Final = "unrecognized arguments: "
NO_MORE_FLAGS: Final = "--"
NEGATION: Final = "no-"
LEFT_WIDTH: Final = 30
"""Where the second column begins."""


class Grammar(argparse.ArgumentParser):
    """A parser of one word."""

    def __init__(self, *, others: Collection[str] = (), **named: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **named})
        self.others = others
        """Flags that belong to other words."""

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Read a command. A mistake is said on stderr and ends the program with exit code 2."""
        known = set(self.flags())
        for flag in flags_in(argv):
            if flag not in known:
                self.error(elsewhere(flag) if flag in self.others else unknown_flag(flag, known))
        return self.parse_args(argv)

    def flags(self) -> Iterator[str]:
        """Name all flags."""
        for action in self._actions:
            yield from action.option_strings

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, with the nearest word, and without any value; the exit code is 2."""
        self.exit(EXIT_USAGE, f"{self.prog}: {self._told(message)} ({self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print without keeping still about an output that takes no more, as argparse would."""
        if message:
            (file or sys.stderr).write(message)

    def _told(self, message: str) -> str:
        if found := re.fullmatch(CHOICE, message, re.DOTALL):
            given, known = found["given"].strip("'\""), re.findall(r"[\w-]+", found["known"])
            return f"unknown word {given!r}{hint(given, known)}: one of {', '.join(known)}"
        if message.startswith(UNRECOGNIZED):
            words = message.removeprefix(UNRECOGNIZED).split()
            flag = next(flags_in(words), None)
            return "there are more words than it takes" if flag is None else elsewhere(flag)
        return message


def flags_in(argv: Sequence[str]) -> Iterator[str]:
    """Find the flags among words, without their values."""
    for word in argv:
        if word == NO_MORE_FLAGS:
            return
        if (flag := flag_of(word)) is not None:
            yield flag


def flag_of(word: str) -> str | None:
    """Take the flag out of a word, without its value; None: it is none."""
    if word.startswith("--"):
        name = word[2:].partition("=")[0].split(maxsplit=1)
        return f"--{name[0]}" if name and not word[2].isspace() else None
    return word[:2] if word[:1] == "-" and word[1:2].isascii() and word[1:2].isalpha() else None


def elsewhere(flag: str) -> str:
    """Say that there is such a flag, and that it is none of this word."""
    return f"{flag} does not belong to this word"


def unknown_flag(flag: str, known: set[str]) -> str:
    """Say that a flag is not known, and which one was probably meant."""
    names = sorted(each.removeprefix("--") for each in known if each.startswith("--"))
    return f"unknown flag {flag}{hint(flag.lstrip('-'), names, '--')}"


def hint(given: str, known: Collection[str], before: str = "") -> str:
    """Name what was probably meant; empty: nothing is near."""
    import difflib  # only mistakes need it

    bare = given.removeprefix(NEGATION)
    near = difflib.get_close_matches(bare, known, n=1)
    return f" (did you mean {before + given.removesuffix(bare) + near[0]!r}?)" if near else ""


def columns(left: str, right: str, width: int, at: int = LEFT_WIDTH) -> Iterator[str]:
    """Write two columns; what is too long for the first has a line of its own."""
    lines = wrapped(right, width - at - 2) or [""]
    begin = f"  {left}"
    if len(begin) > at:
        yield begin
        begin = ""
    yield f"{begin:<{at}}  {lines[0]}".rstrip()
    yield from (f"{'':<{at}}  {line}" for line in lines[1:])


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines at its spaces."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
