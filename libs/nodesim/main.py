"""`nodesim`: read the settings, take the port, run until told to stop.

Exit codes: 0 after SIGTERM, SIGINT or the end of standard input (when asked
for), 1 when the port cannot be had, 2 for wrong settings. A stop is quick and
clean, as NodeODM's: tasks are written down, connections are dropped.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

from clusterodm.libs.nodesim.settings import BadSetting, Settings, parse

EXIT_FAILED = 1
EXIT_USAGE = 2
BACKLOG = 2048


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node; returns the exit code."""
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        listener = _listen(settings)
        with listener, _data_dir(settings) as root:
            asyncio.run(_serve(settings, root, listener))
    except BadSetting as error:
        return _fail(str(error), EXIT_USAGE)
    except OSError as error:
        return _fail(str(error), EXIT_FAILED)
    return 0


async def _serve(settings: Settings, root: Path, listener: socket.socket) -> None:
    import uvicorn

    from clusterodm.libs.nodesim.app import application
    from clusterodm.libs.nodesim.events import EventLog
    from clusterodm.libs.nodesim.gate import told_of_connections
    from clusterodm.libs.nodesim.node import Node

    class Server(uvicorn.Server):
        """Leaves the signals to `_stopping`."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    node = Node(settings, root, EventLog(settings.event_log, settings.name))
    config = uvicorn.Config(
        application(node), http="httptools", lifespan="off", log_config=None, access_log=False, server_header=False
    )
    config.load()
    config.http_protocol_class = told_of_connections(config.http_protocol_class)
    server = Server(config)
    async with _stopping(server.handle_exit, settings), asyncio.TaskGroup() as loops:
        running = loops.create_task(node.run(), name="node")
        _announce(settings, listener)
        node.events.tell("node_started", port=listener.getsockname()[1])
        await server.serve(sockets=[listener])
        node.save()
        node.events.tell("node_stopped")
        running.cancel()


@contextlib.asynccontextmanager
async def _stopping(handle_exit: Callable[[int, None], None], settings: Settings) -> AsyncIterator[None]:
    """Stop on SIGTERM and SIGINT, and when standard input ends. Told twice, uvicorn does not wait for connections."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        handle_exit(signal.SIGINT, None)
        handle_exit(signal.SIGINT, None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if settings.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _watch_input, loop, stop)
    yield


def _watch_input(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        loop.remove_reader(sys.stdin.fileno())
        stop()


def _listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is touched."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on every connection; without it each answer takes 40 ms more.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port {settings.port} on {settings.host} is in use") from error
        raise OSError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
    return listener


@contextlib.contextmanager
def _data_dir(settings: Settings) -> Iterator[Path]:
    if settings.data_dir:
        root = Path(settings.data_dir)
        root.mkdir(parents=True, exist_ok=True)
        yield root
    else:
        with tempfile.TemporaryDirectory(prefix="nodesim-", ignore_cleanup_errors=True) as made:
            yield Path(made)


def _announce(settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    print(f"nodesim listens on http://{settings.host}:{port}", flush=True)  # noqa: T201 - the program's one line
    if settings.port_file:
        partial = Path(f"{settings.port_file}.new")
        partial.write_text(f"{port}\n")
        partial.rename(settings.port_file)


def _fail(message: str, code: int) -> int:
    print(f"nodesim: {message}", file=sys.stderr)  # noqa: T201 - the one line that the user needs
    return code
