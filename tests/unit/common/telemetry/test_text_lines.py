"""Lines of the log without colours are those that structlog writes for a terminal."""

from typing import Any

import pytest
import structlog

from clusterodm.libs.common.telemetry.log import EVENT_WIDTH, text_line, text_renderer


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            {"timestamp": "10:00:00", "level": "info", "event": "task.placed", "task": "a", "at": 1}, id="usual"
        ),
        pytest.param({"timestamp": "10:00:00", "level": "warning", "event": "a" * 40}, id="a long event"),
        pytest.param({"level": "info", "event": "task.placed"}, id="without fields"),
        pytest.param({"event": "x", "level": "error", "logger": "uvicorn"}, id="of another library"),
        pytest.param({"event": "x", "reason": "a b", "q": 'say "x"', "t": "a=b", "n": "a\nb"}, id="texts in quotes"),
        pytest.param({"event": "x", "none": None, "rate": 1.5, "nodes": ["a"], "empty": ""}, id="no texts"),
        pytest.param({"event": 5, "level": "debug"}, id="an event that is no text"),
        pytest.param({"event": "x", "exception": "Traceback\n  y"}, id="an exception"),
        pytest.param({"event": "x", "stack": "Stack\n  y"}, id="a stack"),
        pytest.param({"event": "x", "stack": "Stack", "exception": "Traceback"}, id="both"),
    ],
)
def test_a_line_is_what_the_renderer_for_terminals_writes(event: dict[str, Any]) -> None:
    expected = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=EVENT_WIDTH)(None, "info", dict(event))
    assert text_line(None, "info", dict(event)) == expected


@pytest.mark.parametrize("colors", [False, True], ids=["into a file", "at a terminal"])
@pytest.mark.parametrize("sign", ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\u202e", "\x7f", "\rover it"])
def test_nothing_that_others_wrote_steers_the_terminal_that_a_log_is_read_at(sign: str, colors: bool) -> None:
    event = {"event": "upload.refused", "path": f"/task/{sign}", "name": f"two words {sign}", "exception": f"a\n{sign}"}
    render = text_renderer(colors=colors)
    without = render(None, "info", {name: text.replace(sign, "") for name, text in event.items()})
    line = render(None, "info", dict(event))
    assert isinstance(line, str)
    assert isinstance(without, str)
    assert line.count("\x1b") == without.count("\x1b")
    assert sign not in line
    assert "\n" in line
