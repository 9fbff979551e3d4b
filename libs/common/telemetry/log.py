"""Structured logs: one line per decision, ids as fields, never a token.

`begin()` is called once by each main, and `set_level` whenever an operator says so. Text for people by default, JSON lines on demand.
What was logged for a request has its id and its tenant (`with_request`). What says the same again and again, or can be caused at will, is written a few times
(`Repetitions`). Every line passes `redact`: whatever looks like a token in a URL, or stands under a secret's name, is replaced before it is
rendered.
"""

import logging
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import structlog

from clusterodm.libs.common.process.files import EXPOSED, exposed_files
from clusterodm.libs.common.secret import HIDDEN
from clusterodm.libs.common.telemetry.metrics import counter
from clusterodm.libs.common.telemetry.request_context import cause, tenant

if TYPE_CHECKING:
    from clusterodm.libs.common.settings.settings import CommonSettings

log = structlog.get_logger()

LEVELS: Final = {"silly": "debug", "verbose": "debug", "warn": "warning"}
"""The original's names for Python's levels."""
SECRET_FIELDS: Final = ("token", "password", "secret", "api_key", "authorization")
IN_QUERY: Final = re.compile(
    r"(?i)\b([\w-]{0,40}(?:token|password|secret|key|signature|credential|sig)(?:[_-][\w-]{0,40})?)=[^&\s\"']+"
)
IN_AUTHORITY: Final = re.compile(r"(?<=://)[^/\s]+@")
"""Up to the last such sign: a password may have one in it."""
FIELDS_COUNT: Final = 1024
"""Names of fields whose kind is remembered: those of the code are fewer."""
NAMES: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
SAME_COUNT: Final = 5
SAME_WITHIN_S: Final = 10.0
"""So many lines that say the same are written within so long."""
REMEMBERED_COUNT: Final = 256
EVENT_WIDTH: Final = 28
LEVEL_WIDTH: Final = 9
"""That of the longest, `exception`, so that events stand below each other."""
QUOTED: Final = frozenset(" \t=\r\n\"'")
"""A text with one of these is written between quotes, so that a line can be taken apart again."""
RULE: Final = "=" * 79
PASSING: Final = frozenset(("timestamp", "cause"))
"""Fields in which lines differ that say the same."""
AT_WILL: Final = "at_will"
"""Marks the lines of a logger made by `structlog.get_logger(at_will=True)`: others can cause them as often as they like, with fields as they like."""
Clock = Callable[[], float]
LINES: Final = counter(
    "clusterodm_log_lines_total", "Lines of the log, those that were kept back too, by level", "level"
)
KEPT_BACK: Final = counter(
    "clusterodm_log_lines_kept_back_total",
    "Lines of the log that said the same as several before, and were not written",
)


def hide(text: str) -> str:
    """Replace tokens in URLs and queries that a text may hold; most texts have none of the signs."""
    if "=" in text:
        text = IN_QUERY.sub(rf"\1={HIDDEN}", text)
    return IN_AUTHORITY.sub(f"{HIDDEN}@", text) if "@" in text else text


@lru_cache(FIELDS_COUNT)
def is_secret(field: str) -> bool:
    """Whether what stands under a name is never shown."""
    return any(word in field.lower() for word in SECRET_FIELDS)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of one log line."""
    for field, value in event.items():
        if is_secret(field):
            event[field] = HIDDEN
        elif isinstance(value, str):
            event[field] = hide(value)
    return event


def with_request(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say for which request a line was written, and for whom, where that is known."""
    for name, known in (("cause", cause.get()), ("tenant", tenant.get())):
        if known:
            event.setdefault(name, known)
    return event


class Severity:
    """The least severe level that this process logs, as Python counts them: 10 debug, 20 info, 30 warning, 40 error."""

    number = logging.INFO


def set_level(level: str) -> None:
    """Log from this level on, from now on; Python's names or the original's. Raises ValueError for another word."""
    name = LEVELS.get(level, level).upper()
    if name not in NAMES:
        raise ValueError(f"{level} is no level: {', '.join(map(str.lower, NAMES))}")
    Severity.number = logging.getLevelName(name)
    logging.getLogger().setLevel(max(Severity.number, logging.WARNING))


class LeveledLogger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc] # it makes a class
    """A logger whose level may change while loggers are kept; what is not severe enough costs a comparison."""

    def debug(self, event: str | None = None, *args: Any, **fields: Any) -> Any:
        """Log, if that is wanted."""
        return super().debug(event, *args, **fields) if Severity.number <= logging.DEBUG else None

    def info(self, event: str | None = None, *args: Any, **fields: Any) -> Any:
        """Log, if that is wanted."""
        return super().info(event, *args, **fields) if Severity.number <= logging.INFO else None

    def warning(self, event: str | None = None, *args: Any, **fields: Any) -> Any:
        """Log, if that is wanted."""
        return super().warning(event, *args, **fields) if Severity.number <= logging.WARNING else None


class Repetitions:
    """Keeps lines back that say the same as several a moment ago, and says with the next one how many these were."""

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, list[float]] = OrderedDict()
        """Of the latest lines: when the window began, how many there were in it, how many were kept back."""
        self._turn = RLock()
        """Threads log, too. Taken again by the same thread where something that is finalized in the middle has a line to say."""

    def __repr__(self) -> str:
        """Show how many lines are remembered."""
        return f"Repetitions({len(self._seen)})"

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Count a line. Raises DropEvent for one too many. Of what others can cause as often as they like all lines of one name say the same."""
        LINES.inc(str(event.get("level")))
        at_will, now = event.pop(AT_WILL, False), self._clock()
        said = str(event.get("event")) if at_will else repr([event.get(name) for name in event if name not in PASSING])
        with self._turn:
            window = self._seen[said] = self._seen.pop(said, []) or [now, 0, 0]
            if len(self._seen) > REMEMBERED_COUNT:
                self._seen.popitem(last=False)
            if now - window[0] >= SAME_WITHIN_S:
                if window[2]:
                    event["repeated"] = int(window[2])
                window[:] = [now, 0, 0]
            window[1] += 1
            if window[1] > SAME_COUNT:
                window[2] += 1
                KEPT_BACK.inc()
                raise structlog.DropEvent
        return event


def text_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """Write one line: time, level, event, fields in the order of their names; below it a stack and an exception, which are text by now.

    That is what structlog's renderer for terminals writes without colours, in a third of its time: a task causes seven lines, and each passed
    twelve formatters that put nothing around its fields.
    """
    stack, trace = event.pop("stack", None), event.pop("exception", None)
    event.pop("exc_info", None)
    words = [f"{event.pop('timestamp')}"] if "timestamp" in event else []
    if "level" in event:
        words.append(f"[{event.pop('level'):{LEVEL_WIDTH}}]")
    words.append(f"{event.pop('event', '')!s:{EVENT_WIDTH}}")
    words += [f"[{event.pop(name)}]" for name in ("logger", "logger_name") if name in event]
    words += [f"{name}={shown(event[name])}" for name in sorted(event)]
    below = [stack] if stack is not None else []
    if stack is not None and trace is not None:
        below += ["", RULE]
    if trace is not None:
        below += ["", trace] if stack is not None else [trace]
    return "\n".join((" ".join(words).rstrip(" "), *below))


def shown(value: Any) -> str:
    """Write the value of a field."""
    return value if isinstance(value, str) and QUOTED.isdisjoint(value) else repr(value)


def escaped(text: str) -> str:
    """Write what would steer a terminal as its escape: names and paths in a line may be anybody's. Lines of a trace stay apart."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


def text_renderer(*, colors: bool) -> structlog.typing.Processor:
    """Choose who writes lines for people: with colours at a terminal."""
    render = structlog.dev.ConsoleRenderer(pad_event_to=EVENT_WIDTH) if colors else text_line

    def rendered(logger: object, method: str, event: MutableMapping[str, Any]) -> Any:
        for field, value in event.items():
            if isinstance(value, str):
                event[field] = escaped(value)
        return render(logger, method, event)

    return rendered


def configure(service: str, level: str, *, as_json: bool, debug: bool = False) -> None:
    """Set up logging for a process. `level` may be one of the original's names."""
    set_level("debug" if debug else level)
    stamp = (
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if as_json
        else structlog.processors.TimeStamper("%H:%M:%S")
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        with_request,
        structlog.processors.add_log_level,
        stamp,
    ]
    last = structlog.processors.JSONRenderer() if as_json else text_renderer(colors=sys.stderr.isatty())
    trace = structlog.processors.format_exc_info  # to text before `redact`, which then sees it
    structlog.configure(
        processors=[*shared, Repetitions(), trace, redact, last],
        wrapper_class=LeveledLogger,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    through_structlog = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, trace, redact, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(through_structlog)
    logging.basicConfig(handlers=[handler], level=max(Severity.number, logging.WARNING), force=True)


def begin(service: str, settings: "CommonSettings") -> None:
    """Set up logging as settings say, and say first of all what is exposed."""
    configure(service, settings.log_level, as_json=settings.logs_json, debug=settings.debug)
    warn_of_exposed(settings)


def warn_of_exposed(settings: "CommonSettings") -> None:
    """Warn of files with secrets that settings name and that other users may read."""
    for name, path in exposed_files(settings):
        log.warning("secret.exposed", flag=name, path=path, reason=EXPOSED)


class Seldom:
    """Lets one line in so many seconds through: for what others can cause as often as they like."""

    def __init__(self, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._next_s = -math.inf
        self._kept_back_count = 0

    def passes(self, now_s: float) -> int:
        """How often it happened since the last line, this time included; 0: say nothing now."""
        self._kept_back_count += 1
        if now_s < self._next_s:
            return 0
        count, self._kept_back_count, self._next_s = self._kept_back_count, 0, now_s + self._every_s
        return count
