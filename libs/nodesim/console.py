"""What a task would write to its console: a function of the task and the time, nothing is stored.

A running task has written `elapsed * lines per second` lines, at most one per
image and stage. The last lines tell how it ended. `since` cuts as JavaScript's
`Array.slice` does, because NodeODM hands the client's number to it.
"""

import math
import re
from collections.abc import Callable
from typing import Final

from clusterodm.libs.nodesim.tasks import Phase, Task

STAGES: Final = (
    ("dataset", "Loading image {image} of {images}"),
    ("opensfm", "Found {features} points in image {image} of {images}"),
    ("openmvs", "Estimated depth map {image} of {images}"),
    ("odm_filterpoints", "Filtered points of image {image} of {images}"),
    ("odm_meshing", "Meshed part {image} of {images}"),
    ("mvs_texturing", "Textured part {image} of {images}"),
    ("odm_georeferencing", "Georeferenced part {image} of {images}"),
    ("odm_dem", "Gridded part {image} of {images}"),
    ("odm_orthophoto", "Drew part {image} of {images}"),
    ("odm_report", "Wrote page {image} of {images}"),
)
HEAD: Final[tuple[Callable[[Task], str], ...]] = (
    lambda task: f"[INFO]    nodesim: task {task.uuid}, {task.images_count} images",
    lambda task: "[INFO]    options: " + ", ".join(f"{option['name']}={option['value']}" for option in task.options),
)
NUMBER: Final = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*\Z")


def output(task: Task, now_ms: int, lines_per_s: float, since: str | None = None) -> list[str]:
    """Lines from number `since` on; a negative number counts from the end."""
    tail = _tail(task)
    body_count = _body_count(task, now_ms, lines_per_s)
    start = first_line(since, body_count + len(tail))
    body = [_line(task, number) for number in range(start, body_count)]
    return body + tail[max(0, start - body_count) :]


def first_line(since: str | None, total_count: int) -> int:
    """Where to start, as JavaScript reads a number: no number is 0, fractions are cut, negatives count back."""
    match = NUMBER.match(since or "")
    wanted = float(match.group(1)) if match else 0.0
    if math.isinf(wanted):
        return total_count if wanted > 0 else 0
    number = math.trunc(wanted)
    return max(0, total_count + number) if number < 0 else min(number, total_count)


def _body_count(task: Task, now_ms: int, lines_per_s: float) -> int:
    if not task.started_ms:
        return 0
    most = len(HEAD) + len(STAGES) * (max(1, task.images_count) + 1)
    return min(most, len(HEAD) + math.floor(task.elapsed_s(now_ms) * lines_per_s))


def _line(task: Task, number: int) -> str:
    if number < len(HEAD):
        return HEAD[number](task)
    images = max(1, task.images_count)
    stage, place = divmod(number - len(HEAD), images + 1)
    name, text = STAGES[stage]
    if place == 0:
        return f"[INFO]    running {name} stage"
    return "[INFO]    " + text.format(image=place, images=images, features=4000 + 37 * place % 1000)


def _tail(task: Task) -> list[str]:
    if not task.started_ms or task.phase is Phase.PROCESSING:
        return []
    if task.phase is Phase.FAILED:
        return [f"[ERROR]   {task.error_message or 'failed'}"]
    # The line break inside the line is NodeODM's.
    return ["Compressing all.zip\n"] if task.phase in (Phase.PACKING, Phase.COMPLETED) else []
