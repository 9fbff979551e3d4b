"""A task as fields of a request, and as a line of `tasks.json`: from and to the state machine's `Task`. Pure."""

import contextlib
import re
from datetime import UTC, datetime
from typing import Any, Final

from clusterodm.libs.nodesim import options
from clusterodm.libs.nodesim.tasks import ENDED, Phase, Task

LEADING_INT: Final = re.compile(r"\s*([+-]?\d+)")


def made(uuid: str, fields: dict[str, str], chosen: options.Chosen, files_count: int, now_ms: int) -> Task:
    """Make a task from the fields of the request."""
    created = LEADING_INT.match(fields.get("dateCreated", ""))
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = fields.get("name")
    return Task(
        uuid=uuid,
        name=f"Task of {stamp}" if name == "" else name,
        date_created_ms=int(created.group(1)) if created else now_ms,
        options=chosen,
        images_count=files_count,
        webhook=fields.get("webhook", ""),
        skip_post_processing=fields.get("skipPostProcessing") == "true",
        outputs=_paths(fields.get("outputs", "")),
    )


def _paths(text: str) -> list[str]:
    """Read `outputs`, a JSON list of paths; anything else is none."""
    with contextlib.suppress(options.OptionsRefused):
        listed = options.parse_json(text) if text else None
        return [path for path in listed if isinstance(path, str)] if isinstance(listed, list) else []
    return []


def saved(task: Task) -> dict[str, Any]:
    """Write down what must survive a stop."""
    return {
        "uuid": task.uuid,
        "name": task.name,
        "date_created_ms": task.date_created_ms,
        "phase": task.phase.name,
        "error_message": task.error_message,
        "options": task.options,
        "webhook": task.webhook,
        "skip_post_processing": task.skip_post_processing,
        "outputs": task.outputs,
    }


def restored(line: dict[str, Any], images_count: int) -> Task:
    """Make a task as it is after a stop: what was running is queued again, console and progress are gone."""
    phase = Phase[line["phase"]]
    return Task(
        **{**line, "phase": phase if phase in ENDED else Phase.QUEUED},
        images_count=images_count,
        initialised=True,
    )
