"""Lines of the log without colours are those that structlog writes for a terminal."""

from typing import Any

import pytest
import structlog

from clusterodm.libs.common.telemetry.log import EVENT_WIDTH, text_line


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
