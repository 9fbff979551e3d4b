"""What an answer over the bus shows of a task: everything but what may open something.

An address may hold a secret anywhere but in its host: a user and a password, a signed query, a path that nobody can guess. A client's own token
stands in the option `sm-cluster`. So of an address only the host is shown. Those who need the whole ask for the record (`get_task`), which
integrations may not.

A console repeats what its node was given, and has other addresses as well, which say something: of those only user, password and query are hidden.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from clusterodm.libs.common.hosts import bracketed, shown
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.secret import HIDDEN

SCHEME_MARK: Final = "://"
USER: Final = re.compile(r"://[^\s/@'\"]+@")
QUERY: Final = re.compile(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]+")


def without_secrets(task: Task) -> Task:
    """Show a task with nothing of its addresses but their hosts."""
    known = task.known
    if known is not None:
        known = msgspec.structs.replace(
            known,
            options=masked(known.options),
            options_changed=masked(known.options_changed),
            console_tail=masked_lines(task, known.console_tail),
        )
    return msgspec.structs.replace(
        task, zip_url=masked_address(task.zip_url), options=masked(task.options), known=known
    )


def shown_record(record: TaskRecord) -> TaskRecord:
    """Show a record in the same way."""
    return msgspec.structs.replace(record, task=without_secrets(record.task))


def masked(options: Sequence[OptionValue]) -> tuple[OptionValue, ...]:
    """Show options, of addresses only the host."""
    return tuple(
        OptionValue(option.name, masked_address(option.value))
        if isinstance(option.value, str) and SCHEME_MARK in option.value
        else option
        for option in options
    )


def masked_lines(task: Task, lines: Sequence[str]) -> tuple[str, ...]:
    """Show lines of a task's console: none of its own addresses but their hosts, and no user, password and query of any."""
    if not any(SCHEME_MARK in line for line in lines):
        return tuple(lines)
    given = [task.zip_url, *(option.value for option in task.options if isinstance(option.value, str))]
    own = sorted({address for address in given if SCHEME_MARK in address}, key=len, reverse=True)
    return tuple(masked_line(line, own) if SCHEME_MARK in line else line for line in lines)


def masked_line(line: str, own: Sequence[str]) -> str:
    """Show a line that names addresses; `own`: those of the task, the longest first."""
    for address in own:
        line = line.replace(address, masked_address(address))
    return QUERY.sub(rf"\1?{HIDDEN}", USER.sub(f"://{HIDDEN}@", line))


def masked_address(address: str) -> str:
    """Show where an address leads: `https://host/***`."""
    if not address:
        return ""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return HIDDEN
    if not host:
        return HIDDEN
    return f"{parts.scheme}{SCHEME_MARK}{shown(host, port) if port else bracketed(host)}/{HIDDEN}"
