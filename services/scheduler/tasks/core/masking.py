"""What an answer over the bus shows of a task: everything but what may open something.

An address may hold a secret anywhere but in its host: a user and a password, a signed query, a path that nobody can guess. A client's own token
stands in the option `sm-cluster`. So of an address only the host is shown. Those who need the whole ask for the record (`get_task`), which
integrations may not.
"""

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


def without_secrets(task: Task) -> Task:
    """Show a task with nothing of its addresses but their hosts."""
    known = task.known
    if known is not None:
        known = msgspec.structs.replace(
            known, options=masked(known.options), options_changed=masked(known.options_changed)
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
