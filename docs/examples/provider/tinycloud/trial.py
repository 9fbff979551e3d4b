"""Tinycloud in memory, and the trial of the provider in front of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from clusterodm.contract.failures import How, Words
from clusterodm.contract.http import http_faults
from clusterodm.contract.trial import Trial

TOKEN = "made-up-token"  # noqa: S105
PER_PAGE = 50


class Tinycloud:
    """The three calls."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.number = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        status, content = 401, {"error": "token", "message": "wrong"}
        if fields.get("authorization") == f"bearer {TOKEN}":
            status, content = self.answer(method, target, body)
        text = json.dumps(content).encode()
        writer.write(b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        await writer.drain()
        writer.close()

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Do what is asked for."""
        path, _, query = target.partition("?")
        number = path.removeprefix("/machines").lstrip("/")
        if method == "POST":
            return 201, self.create(json.loads(body))
        if method == "DELETE":
            return (204 if self.machines.pop(number, None) else 404), {}
        if number:
            return (200, self.machines[number]) if number in self.machines else (404, {})
        page = int(query.partition("=")[2] or 1)
        all_of_them = list(self.machines.values())
        shown = all_of_them[(page - 1) * PER_PAGE : page * PER_PAGE]
        pages = max(1, -(-len(all_of_them) // PER_PAGE))
        return 200, {"machines": shown, "total": len(all_of_them), "pages": pages}

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Create a machine."""
        self.number += 1
        facts = {"id": str(self.number), "state": "on", "ip": "127.0.0.9", "created": "2026-01-02T03:04:05Z"}
        self.machines[facts["id"]] = {"name": asked["name"], "size": asked["size"], **facts}
        return self.machines[facts["id"]]


WORDS = {
    How.CAPACITY: Words(409, b'{"error": "no_room", "message": "sold out"}'),
    How.LIMIT: Words(403, b'{"error": "quota", "message": "no more machines for you"}'),
}
"""How Tinycloud says that there is no room."""


@contextlib.asynccontextmanager
async def trial(_folder: Path) -> AsyncIterator[Trial]:
    """Put the provider in front of it: `pytest --provider tinycloud:Provider`."""
    cloud = Tinycloud()
    server = await asyncio.start_server(cloud.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, http_faults(url, WORDS) as faults:
        yield Trial(
            keys={"token": TOKEN, "endpoint": faults.url},
            straight={"token": TOKEN, "endpoint": url},
            faults=faults,
            slug="small",
            secrets=[TOKEN],
            required=["token"],
        )
