"""An owner of loops that come and go."""

import asyncio

from clusterodm.libs.common.process.lifecycle import CANCEL_AGAIN_S


class Owner:
    """The asyncio task whose context a loop lives in: it is cancelled when the loop has failed for good."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before_count = self._task.cancelling() if self._task else 0
        self._running: asyncio.Task[None]
        self._cancelled_count = 0
        self._failed = False
        self._leaves = False
        self._again: asyncio.TimerHandle | None = None

    def owns(self, running: "asyncio.Task[None]") -> None:
        """Watch over the loop's own task."""
        self._running = running
        running.add_done_callback(self._over)

    def ending(self) -> bool:
        """Whether a cancellation of the loop is meant: its context is left, or its owner is cancelled or gone."""
        task = self._task
        return self._leaves or task is None or task.done() or task.cancelling() > self._before_count

    def _over(self, running: "asyncio.Task[None]") -> None:
        if not running.cancelled() and running.exception() and self._task and not self._task.done():
            self._cancel()

    def _cancel(self) -> None:
        """Cancel it, and again if it has missed that (lifecycle.cancellable says how that happens)."""
        if self._task and not self._task.done():
            self._cancelled_count += 1
            self._task.cancel()
            self._again = asyncio.get_running_loop().call_later(CANCEL_AGAIN_S, self._cancel)

    def leave(self) -> None:
        """Cancel it no more; how the loop ends from here on is nobody's failure."""
        self._leaves = True
        self._failed = self._running.done()
        self._running.remove_done_callback(self._over)
        if self._again:
            self._again.cancel()

    def require(self) -> None:
        """Raise what the loop has failed with, in place of the cancellations that it caused; those of others go on."""
        if not self._failed or self._running.cancelled() or not (error := self._running.exception()):
            return
        left_count = 0
        for _ in range(self._cancelled_count):
            left_count = self._task.uncancel() if self._task else 0
        if left_count <= self._before_count:
            raise error
