"""The flags of a program, one per setting: `--admin-cli-port 8080`, `--debug`, `--no-debug`, `-p 3000`; and its help."""

import argparse
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.fields import REQUIRED, Setting, SettingsError, flag
from clusterodm.libs.common.settings.grammar import LEFT_WIDTH, columns, wrapped
from clusterodm.libs.common.settings.readers import choices_of, plain_kind

NARROWEST: Final = 60
WIDEST: Final = 110
UNITS: Final = {
    "s": "SECONDS",
    "ms": "MS",
    "h": "HOURS",
    "d": "DAYS",
    "mb": "MB",
    "bytes": "BYTES",
    "count": "N",
    "port": "PORT",
}
"""What a value is called, by the last word of its setting's name."""
RATE: Final = re.compile(r".*_([a-z]+_per_[a-z]+)")
"""The name of a setting that is so much in a time."""
FILES: Final = frozenset({"config", "asr", "key", "cert", "log", "file"})
ENVIRONMENT: Final = "Every flag is also an environment variable (--{dashed}: CLUSTERODM_{name}) and a key of the file that --config names."


class Help(NamedTuple):
    """What the help of a program says beside its flags."""

    prog: str
    about: str = ""
    examples: Sequence[tuple[str, str]] = ()
    """Flags, and what they do."""
    everyday: Sequence[str] = ()
    """The settings that `--help` shows; empty: all of them."""


class Parser(argparse.ArgumentParser):
    """Leaves it to others to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError instead of ending the program."""
        raise SettingsError(message)


def flags_given(
    settings: Mapping[str, Setting], argv: Sequence[str], told: Help, shortcuts: Mapping[str, str]
) -> dict[str, Any]:
    """Read the flags: what was given, by setting. `--help` and `--help-all` print and leave. Raises SettingsError."""
    parser = Parser(prog=told.prog, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", dest="help", action="store_true")
    parser.add_argument("--help-all", dest="help_all", action="store_true")
    for name, setting in settings.items():
        short = [f"-{shortcuts[name]}"] if name in shortcuts else []
        add(parser, setting, [flag(name), *short], name)
    given = vars(parser.parse_args(argv))
    if given.pop("help", False) | given.pop("help_all", False):
        words = help_lines(settings, told, shortcuts, whole="--help-all" in argv, width=width())
        print("\n".join(words))  # noqa: T201 the program's output
        raise SystemExit(0)
    return {
        name: [part for one in value for part in one.split(",")] if settings[name].listed else value
        for name, value in given.items()
    }


def add(parser: argparse.ArgumentParser, setting: Setting, flags: Sequence[str], name: str) -> None:
    """Add one flag."""
    if setting.kind is bool:
        parser.add_argument(*flags, dest=name, action=argparse.BooleanOptionalAction)
    else:
        parser.add_argument(*flags, dest=name, action="append" if setting.listed else "store")


def width() -> int:
    """Say how wide help may be."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)


def help_lines(
    settings: Mapping[str, Setting], told: Help, shortcuts: Mapping[str, str], *, whole: bool, width: int
) -> Iterator[str]:
    """Write the help: usage, examples, and the flags in groups."""
    shown = {name: one for name, one in settings.items() if whole or not told.everyday or name in told.everyday}
    yield f"usage: {told.prog} [flag ...]"
    yield from ("", *wrapped(" ".join(told.about.split()), width))
    if told.examples:
        yield from ("", "Examples:")
        for flags, what in told.examples:
            yield from columns(f"{told.prog} {flags}".rstrip(), what, width, 2 + max(len(told.prog) + 26, LEFT_WIDTH))
    for title in dict.fromkeys(one.group for one in reversed(shown.values())):
        yield from ("", f"{title}:")
        for name, one in shown.items():
            if one.group == title:
                yield from columns(flag_words(name, one, shortcuts), f"{one.description}{default(one)}", width)
    yield from ("", "Help:")
    yield from columns("-h, --help", "show this" if not told.everyday else "show what is needed every day", width)
    if told.everyday:
        yield from columns("--help-all", f"show all {len(settings)} flags", width)
    name = next(iter(shown))
    yield from ("", *wrapped(ENVIRONMENT.format(dashed=name.replace("_", "-"), name=name.upper()), width))


def flag_words(name: str, setting: Setting, shortcuts: Mapping[str, str]) -> str:
    """Write a flag as it is given: `--[no-]debug`, `-p, --port PORT`."""
    if setting.kind is bool:
        return f"--[no-]{name.replace('_', '-')}"
    short = f"-{shortcuts[name]}, " if name in shortcuts else ""
    return f"{short}{flag(name)} {value_name(name, setting.kind)}"


def value_name(name: str, kind: Any) -> str:
    """Say in a word what a flag wants."""
    plain, last = plain_kind(kind), name.rpartition("_")[2]
    if choices := choices_of(kind):
        return "|".join(choices)
    if name == "node":
        return "HOST:PORT"
    if plain is Secret:
        return "SECRET"
    if plain in {int, float}:
        return rate[1].upper() if (rate := RATE.fullmatch(name)) else UNITS.get(last, "N")
    return "DIR" if last == "dir" else "FILE" if last in FILES else "URL" if last == "url" else UNITS.get(last, "TEXT")


def default(setting: Setting) -> str:
    """Say what holds when a flag is not given; empty where that says nothing."""
    value = setting.default
    if value is REQUIRED:
        return " (required)"
    if value is None or value == "" or value is False or value == []:
        return ""
    if value is True:
        return " (default: yes)"
    return f" (default: {value:g})" if isinstance(value, float) else f" (default: {value})"
