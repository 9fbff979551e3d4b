"""A web server on loopback: serves the files of a folder, and remembers what is posted to it."""

import json
import queue
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class World:
    """The part of the world that a node talks to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.posted: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.refuse_next_count = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="world").start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def zip(self, name: str, files: dict[str, bytes]) -> str:
        """Put a zip there; returns its URL."""
        with zipfile.ZipFile(self.folder / name, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return f"{self.url}/{name}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one request per connection."""

            def do_HEAD(self) -> None:
                self._answer(200 if (world.folder / self.path[1:]).exists() else 404)

            def do_GET(self) -> None:
                path = world.folder / self.path[1:]
                self._answer(200 if path.exists() else 404)
                self.wfile.write(path.read_bytes() if path.exists() else b"no such file")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                world.posted.put((self.path, json.loads(body)))
                self._answer(500 if world.refuse_next_count > 0 else 200)
                world.refuse_next_count -= 1

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        return Handler
