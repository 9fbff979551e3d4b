"""The flags of a program, one per setting: `--admin-cli-port 8080`, `--debug`, `--no-debug`, `-p 3000`."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from clusterodm.libs.common.fields import REQUIRED, Setting, SettingsError, flag
from clusterodm.libs.common.readers import type_name


class Parser(argparse.ArgumentParser):
    """Leaves it to others to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError instead of ending the program."""
        raise SettingsError(message)


def flags_given(
    settings: Mapping[str, Setting], argv: Sequence[str], prog: str, about: str, shortcuts: Mapping[str, str]
) -> dict[str, Any]:
    """Read the flags: what was given, by setting. `--help` prints the help and leaves. Raises SettingsError."""
    parser = Parser(prog=prog, description=about, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name, setting in settings.items():
        short = [f"-{shortcuts[name]}"] if name in shortcuts else []
        add(parser, setting, [flag(name), *short], name)
    given = vars(parser.parse_args(argv))
    return {
        name: [part for one in value for part in one.split(",")] if settings[name].listed else value
        for name, value in given.items()
    }


def add(parser: argparse.ArgumentParser, setting: Setting, flags: Sequence[str], name: str) -> None:
    """Add one flag."""
    default = "(required)" if setting.default is REQUIRED else f"(default: {setting.default})"
    said = f"{setting.description} {default}".replace("%", "%%")
    if setting.kind is bool:
        parser.add_argument(*flags, dest=name, help=said, action=argparse.BooleanOptionalAction)
    else:
        action = "append" if setting.listed else "store"
        parser.add_argument(*flags, dest=name, help=said, action=action, metavar=type_name(setting.kind))
