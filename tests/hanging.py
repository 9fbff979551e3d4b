"""Ends a process of tests that hangs where the time limit of a test does not reach: while a fixture or an event loop is taken down.

pytest-timeout interrupts a test once. What waits without an end after that (a thread that never returns, a loop that waits for it) would hold up the
run until somebody looks. Here the process writes where each of its threads is, and ends: the run says which test it was, and goes on in another.
"""

import contextlib
import faulthandler
import os
from collections.abc import Generator

import pytest

TRIES_COUNT = 3
"""A test that starts processes may be tried again twice, within one protocol."""
TAKING_DOWN_S = 60.0
USUAL_LIMIT_S = 120.0


class HangWatch:
    """Watches each test, from its first fixture until the last is taken down. `after_s`: so long; None: by the test's own limit."""

    def __init__(self, config: pytest.Config, after_s: float | None = None) -> None:
        self._after_s = after_s
        capturing = config.pluginmanager.getplugin("capturemanager")
        with capturing.global_and_fixture_disabled() if capturing else contextlib.nullcontext():
            self._terminal = os.dup(2)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """End the process when the test does not."""
        marked = item.get_closest_marker("timeout")
        limit_s = float(marked.args[0]) if marked and marked.args else USUAL_LIMIT_S
        after_s = self._after_s or TRIES_COUNT * (limit_s + TAKING_DOWN_S)
        faulthandler.dump_traceback_later(after_s, exit=True, file=self._terminal)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()
