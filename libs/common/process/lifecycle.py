"""The life of a process: clocks, signals, graceful stop. Its loops are in `loops`.

    run()         one process: private files, uvloop, SIGTERM and SIGINT cancel the main coroutine, a clear line and an exit code at the end
    TaskLimiter          a bounded number of short-lived asyncio tasks, all of them ended with their context
    cancellable()     awaits what might swallow a cancellation
    ended()       cancels loops until they have ended, and swallows no cancellation of the one who waits
    threaded()    calls what blocks in a thread that nobody waits for at the end of the process

Cancellation closes in reverse order of opening, because everything is an async context manager. asyncio tasks are called
*loops* here; a *task* is always an ODM task.
"""

import asyncio
import contextlib
import faulthandler
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Self, TypeVar

import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import BusDenied, ClusterError, Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_REFUSED
from clusterodm.libs.common.process.files import keep_private
from clusterodm.libs.common.process.memory import settle
from clusterodm.libs.common.process.wall_clock import monotonic_s as monotonic_s  # noqa: PLC0414 most take it from here
from clusterodm.libs.common.process.wall_clock import now_ms as now_ms  # noqa: PLC0414 same

log = structlog.get_logger()

Result = TypeVar("Result")

STDERR: Final = 2
"""The descriptor, whatever `sys.stderr` is at the moment."""
OPEN_FILES_COUNT: Final = 65_536
CLOSE_S: Final = 1.0
"""When all of a service is closed, its loop may take so long: closing it waits for the look-up of every name (uvloop)."""
CANCEL_AGAIN_S: Final = 1.0
"""A loop that has not ended so long after it was cancelled may have missed it (see `cancellable`)."""


class SystemClock:
    """The real clocks; see libs/common/clocks.py."""

    def wall_ms(self) -> WallMs:
        """Say what time it is."""
        return now_ms()

    instant = staticmethod(monotonic_s)
    """Says where the monotonic clock is."""


def run(
    serve: Coroutine[Any, Any, None], prog: str, stop_within_s: float | None = None, refused_code: int = EXIT_FAILED
) -> int:
    """Run a service until it ends or is told to; return the exit code.

    What goes wrong at the start (a ClusterError, or an OSError like a port in use) is one clear line and exit code 1.
    A Refused among it gives `refused_code`: EXIT_REFUSED for a service that needs a while to find out. That NATS does not let us in
    always gives EXIT_REFUSED. docs/exit-codes.md has the table.
    A process that is still there `stop_within_s` after it was told to stop says where each of its threads is, and ends with 1.
    """
    import uvloop

    keep_private()
    faulthandler.enable(STDERR)  # who is aborted because it hangs writes where
    allow_many_connections()
    settle()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signalled(serve, stop_within_s))
            leaving = leave_in(CLOSE_S) if stop_within_s else None
        if leaving:
            leaving.cancel()
    except (ClusterError, OSError, ExceptionGroup) as error:
        return explain(prog, error, refused_code)
    finally:
        if stop_within_s:
            faulthandler.cancel_dump_traceback_later()
    return EXIT_OK


def allow_many_connections() -> None:
    """Raise the limit of open files (1,024 in most shells) to what a large cluster needs: each connection is one."""
    soft_count, hard_count = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted_count = OPEN_FILES_COUNT if hard_count == resource.RLIM_INFINITY else min(OPEN_FILES_COUNT, hard_count)
    if soft_count != resource.RLIM_INFINITY and soft_count < wanted_count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted_count, hard_count))


def leave_in(seconds: float) -> threading.Timer:
    """End the process with 0 by then, whatever still waits in it; to be called when nothing is left to be closed."""

    def leave() -> None:
        sys.stdout.flush()
        os._exit(EXIT_OK)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer


def explain(prog: str, error: Exception, refused_code: int) -> int:
    """Say expected trouble in a line each; anything else goes on as it is, with its trace."""
    found = leaves(error)
    if not all(isinstance(leaf, ClusterError | OSError) for leaf in found):
        raise error
    for line in dict.fromkeys(map(worded, found)):
        print(f"{prog}: {line}", file=sys.stderr)  # noqa: T201 for the person who started it
    if any(isinstance(leaf, BusDenied) for leaf in found):
        return EXIT_REFUSED
    return refused_code if any(isinstance(leaf, Refused) for leaf in found) else EXIT_FAILED


def worded(error: BaseException) -> str:
    """Say expected trouble: what the system says of a file or a port comes behind its name, without a number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def leaves(error: BaseException) -> list[BaseException]:
    """Flatten an exception group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


async def until_signalled(serve: Coroutine[Any, Any, None], stop_within_s: float | None = None) -> None:
    """Await `serve`; the first SIGTERM or SIGINT cancels it, and that is a normal end. Later ones change nothing."""
    loop = asyncio.get_running_loop()
    main = loop.create_task(serve, name="main")
    told = asyncio.Event()

    def stop() -> None:
        if not told.is_set():
            told.set()
            main.cancel()
            if stop_within_s:
                faulthandler.dump_traceback_later(stop_within_s, exit=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await main


async def cancellable(awaited: Awaitable[Result]) -> Result:
    """Await what may swallow a cancellation inside, and never miss one: to be used around everything of nats-py's.

    Whatever writes there ends in `Client._flush_pending`, which has `except CancelledError: pass` (2.16). And before Python
    3.12 `wait_for` returns normally when its future is done in the moment of the cancellation (gh-86296). The one who
    cancelled then waits for ever for a loop that goes on; a service that was told to stop does not.
    """
    current = asyncio.current_task()
    before_count = current.cancelling() if current else 0
    try:
        return await awaited
    finally:
        if current and current.cancelling() > before_count:
            raise asyncio.CancelledError


async def cancel_and_wait(*loops: asyncio.Task[Any]) -> None:
    """Cancel loops until all have ended, however they end; one that has missed a cancellation gets another.

    `await loop` would not do: it raises the loop's CancelledError and the caller's own alike, and who suppresses the one
    suppresses the other. A process that has lost the cancellation of SIGTERM in this way runs on for ever.
    """
    interrupted = False
    while left := [loop for loop in loops if not loop.done()]:
        for loop in left:
            loop.cancel()
        try:
            await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError:
            interrupted = True
    if interrupted:
        raise asyncio.CancelledError


async def threaded(work: Callable[[], Result], name: str) -> Result:
    """Call what blocks in a thread of its own. Cancelled, it leaves the thread behind, and so does the end of the process.

    `asyncio.to_thread` will not do for calls over the network: its threads are joined before a process ends, so that one
    server that does not answer holds up SIGTERM for all of its time limits and retries.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Result] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        def unless_left() -> None:
            if not answer.done():
                outcome()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(unless_left)

    def run_in_thread() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 it is raised where it is awaited
            failure = error
            settle(lambda: answer.set_exception(failure))
        else:
            settle(lambda: answer.set_result(result))

    threading.Thread(target=run_in_thread, name=name, daemon=True).start()
    return await answer


def mention_unexpected_end(loop: asyncio.Task[object]) -> None:
    """Log a loop that ended although nobody cancelled it."""
    if not loop.cancelled():
        log.error("loop.ended", loop=loop.get_name(), error=repr(loop.exception()))


def mention_failure(loop: asyncio.Task[Any]) -> None:
    """Log what a loop has failed with, where nobody awaits it."""
    if not loop.cancelled() and (error := loop.exception()):
        log.error("loop.failed", loop=loop.get_name(), error=repr(error))


class TaskLimiter:
    """A bounded number of short-lived asyncio tasks. Leaving the context waits a little for them, then cancels them."""

    def __init__(self, limit_count: int, grace_s: float = 0.0) -> None:
        self._room = asyncio.Semaphore(limit_count)
        self._at_work: set[asyncio.Task[None]] = set()
        self._grace_s = grace_s
        self._leaves = False

    def __len__(self) -> int:
        """How many are at work."""
        return len(self._at_work)

    async def start(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Start one as soon as there is room for it; waiting for room is the back-pressure."""
        try:
            await self._room.acquire()
        except asyncio.CancelledError:
            work.close()
            raise
        worker = asyncio.get_running_loop().create_task(self._guard(work, name), name=name)
        self._at_work.add(worker)
        worker.add_done_callback(self._at_work.discard)
        worker.add_done_callback(lambda _: work.close())  # one that is cancelled before it has begun awaits nothing

    async def _guard(self, work: Coroutine[Any, Any, object], name: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            if not self._leaves:
                log.error("work.canceled", work=name, reason="by mistake: nobody ends what it belongs to")  # noqa: TRY400 no trace
            raise
        except Exception:
            log.exception("work.failed", work=name)
        finally:
            self._room.release()

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let them finish for the grace time, then cancel what is left until it has ended."""
        self._leaves = True
        if self._at_work and self._grace_s:
            await asyncio.wait(self._at_work, timeout=self._grace_s)
        await cancel_and_wait(*self._at_work)
