"""What can be set: one frozen object, from which flags, `--help` and the control endpoint are made.

Every field carries its default, its help text and whether it may change while
the node runs (`live`). Units are in the names. `parse` reads the command line,
`changed` a JSON object sent to `POST /sim/settings`; both refuse with one line.
"""

import argparse
import dataclasses
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

DROPS: Final = ("status", "status-after", "reset-before", "reset-midway", "reset-after")
ENVIRONMENT_NAME: Final = "NODESIM_TOKEN"
HIGHEST_PORT: Final = 65535


class BadSetting(ValueError):
    """A value that cannot be; the message names the setting and is one line."""


def knob(default: object, help_: str, *, live: bool = False, **extra: object) -> Any:
    """Declare one setting: its default, its help text, and whether it may change at run time."""
    return field(default=default, metadata={"help": help_, "live": live, **extra})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How this node behaves."""

    host: str = knob("127.0.0.1", "address to listen on")
    port: int = knob(3000, "port to listen on; 0 takes a free one")
    port_file: str = knob("", "write the chosen port into this file once connections are taken")
    name: str = knob(socket.gethostname(), "name of this node in the event log")
    data_dir: str = knob("", "where uploads and results live (default: a new directory, removed at exit)")
    event_log: str = knob("", "append what happens to this file, one JSON object per line")
    exit_with_stdin: bool = knob(False, "exit when standard input ends, so that no node outlives a test")
    token: str = knob("", "clients must send this as ?token= (better in the environment: NODESIM_TOKEN)")
    webhook: str = knob("", "POST the info of every finished task to this URL")
    webhook_retry_s: float = knob(5.0, "wait this times 0, 1, 2, 3, 4 before trying a webhook again")
    result_command: str = knob(
        "", "call this program with a task's uuid and directory before the task completes; it fails when that fails"
    )
    drop_seed: int = knob(0, "the same seed drops the same uploads by chance; 0: others at each start")
    options_file: str = knob("", "serve this list as /options instead of the one built in")
    keep_tasks_s: float = knob(48 * 3600.0, "remove tasks this long after they ended")
    keep_uploads_s: float = knob(48 * 3600.0, "remove uploads without a commit that are untouched for so long")

    version: str = knob("2.2.4", "version in /info", live=True)
    engine: str = knob("odm", "engine in /info", live=True)
    engine_version: str = knob("3.5.6", "engineVersion in /info", live=True)
    cpu_cores: int = knob(4, "cpuCores in /info", live=True)
    total_memory_mb: int = knob(16384, "totalMemory in /info, in units of 1024 * 1024 bytes", live=True)
    available_memory_mb: int = knob(12288, "availableMemory in /info, in the same unit", live=True)
    max_images: int = knob(0, "most images per task; 0 for no limit", live=True)
    parallel_tasks: int = knob(1, "tasks processed at the same time", live=True, least=1)

    init_time_s: float = knob(0.0, "time from a commit until the task is queued", live=True)
    task_time_s: float = knob(1.0, "time to process a task", live=True)
    image_time_s: float = knob(0.0, "further time per image of the task", live=True)
    console_lines_per_s: float = knob(10.0, "console lines that a running task writes", live=True)
    result_size_mb: float = knob(0.0, "pad all.zip to about this many times 1024 * 1024 bytes", live=True)
    download_ranges: bool = knob(False, "honour Range on downloads (NodeODM 2.2.4 ignores it)", live=True)

    fail_all: bool = knob(False, "fail every task", live=True)
    fail_next_count: int = knob(0, "fail that many tasks, then no more", live=True)
    fail_message: str = knob("Cannot process dataset", "errorMessage of tasks that fail", live=True)
    fail_after_part: float = knob(1.0, "a failing task fails after this part of its time, 0 to 1", live=True, most=1)
    out_of_memory_images: int = knob(
        0, "tasks with more images fail with 'Not enough memory'; 0 for no such limit", live=True
    )
    drop_upload_part: float = knob(0.0, "part of the uploads that is dropped, 0 to 1", live=True, most=1)
    drop_upload_next_count: int = knob(0, "drop that many uploads, then no more", live=True)
    drop_commit_next_count: int = knob(0, "drop that many commits, then no more", live=True)
    drop_how: str = knob(
        "status",
        "how to drop: answer 500 and store nothing, or all; reset the connection before, midway or after storing",
        live=True,
        choices=DROPS,
    )
    answer_delay_s: float = knob(0.0, "hold every request back this long", live=True)
    frozen: bool = knob(False, "answer nothing at all (but /sim/...) until set to false", live=True)


FIELDS: Final = {item.name: item for item in dataclasses.fields(Settings)}


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line; prints help and leaves for `--help`.

    Raises: BadSetting.
    """
    given = vars(parser().parse_args(arguments))
    given["token"] = given["token"] or os.environ.get(ENVIRONMENT_NAME, "")
    return _checked(Settings(**given))


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """Return the settings with these changes; only live ones may change.

    Raises: BadSetting.
    """
    for name in changes:
        if name not in FIELDS or not FIELDS[name].metadata["live"]:
            raise BadSetting(f"{name}: no such setting that can change while the node runs")
    converted: dict[str, Any] = {name: _converted(name, value) for name, value in changes.items()}
    return _checked(dataclasses.replace(settings, **converted))


def live(settings: Settings) -> dict[str, object]:
    """Everything that can change at run time, as it is now."""
    return {name: getattr(settings, name) for name, item in FIELDS.items() if item.metadata["live"]}


def flags(knobs: Mapping[str, object]) -> list[str]:
    """Write settings as command line arguments: what `parse` reads.

    Raises: BadSetting for a name that does not exist.
    """
    arguments: list[str] = []
    for name, value in knobs.items():
        if name not in FIELDS:
            raise BadSetting(f"{name}: no such setting")
        if value is True:
            arguments.append(flag(name))
        elif value is not False and value is not None:
            arguments.append(f"{flag(name)}={value}")
    return arguments


def flag(name: str) -> str:
    """Name of a setting on the command line."""
    return "--" + name.replace("_", "-")


def parser() -> argparse.ArgumentParser:
    """Make the command line from the fields."""
    made = _Parser(
        prog="nodesim",
        description="A NodeODM that processes nothing: takes uploads, pretends to work, answers with an all.zip.",
        epilog="Settings of the second group can also be changed while the node runs: POST /sim/settings"
        ' with a JSON object such as {"task_time_s": 3}. GET /sim/settings shows them.',
        allow_abbrev=False,
    )
    fixed, adjustable = made.add_argument_group("the node"), made.add_argument_group("its behaviour")
    for item in FIELDS.values():
        _add(adjustable if item.metadata["live"] else fixed, item)
    return made


class _Parser(argparse.ArgumentParser):
    """Refuses with one line instead of printing its usage."""

    def error(self, message: str) -> Any:
        raise BadSetting(message)


def _add(group: Any, item: "dataclasses.Field[Any]") -> None:
    shown = f"{item.metadata['help']}{_default_text(item.default)}"
    if item.type is bool:
        group.add_argument(flag(item.name), action="store_true", help=shown)
        return
    choices = item.metadata.get("choices")
    group.add_argument(
        flag(item.name),
        type=item.type,
        default=item.default,
        choices=choices,
        metavar=None if choices else item.name.rpartition("_")[2].upper(),
        help=shown.replace("%", "%%"),
    )


def _default_text(default: object) -> str:
    return "" if default in ("", None, False) else f" (default: {default})"


def _converted(name: str, value: object) -> object:
    kind = FIELDS[name].type
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
        raise BadSetting(f"{name}: {value!r} is not of type {getattr(kind, '__name__', kind)}")
    return float(value) if isinstance(value, int) and kind is float else value


def _checked(settings: Settings) -> Settings:
    for item in FIELDS.values():
        value = getattr(settings, item.name)
        choices = item.metadata.get("choices")
        if choices and value not in choices:
            raise BadSetting(f"{flag(item.name)}: {value} is none of {', '.join(choices)}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(item, value)
    return settings


def _check_number(item: "dataclasses.Field[Any]", value: float) -> None:
    least = item.metadata.get("least", 0)
    most = HIGHEST_PORT if item.name == "port" else item.metadata.get("most", float("inf"))
    if not least <= value <= most:
        upper = "" if most == float("inf") else f" and at most {most}"
        raise BadSetting(f"{flag(item.name)}: {value} must be at least {least}{upper}")
