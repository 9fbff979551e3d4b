"""A small client for any NodeODM, for tests that look at the wire: it never retries and hides nothing."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

DEADLINE_S: Final = 20.0
POLL_S: Final = 0.02
ENDED: Final = (30, 40, 50)


class NodeUnderTest:
    """One node; tasks made through it are removed at the end."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.http = httpx.Client(base_url=url, params={"token": token} if token else {}, timeout=10, trust_env=False)
        self.made: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for uuid in self.made:
            with contextlib.suppress(httpx.HTTPError):
                self.act("remove", uuid)
        self.http.close()

    def get(self, path: str, **arguments: Any) -> Any:
        """GET JSON."""
        answer = self.http.get(path, **arguments)
        assert answer.status_code == 200, answer
        return answer.json()

    def post(self, path: str, **arguments: Any) -> Any:
        """POST, and read JSON."""
        answer = self.http.post(path, **arguments)
        assert answer.status_code == 200, answer
        return answer.json()

    def info(self, uuid: str, **params: Any) -> dict[str, Any]:
        """Info of a task."""
        return self.get(f"/task/{uuid}/info", params=params)

    def act(self, action: str, uuid: str, **fields: str) -> dict[str, Any]:
        """Cancel, remove or restart, urlencoded."""
        return self.post(f"/task/{action}", data={"uuid": uuid, **fields})

    def init(self, headers: dict[str, str] | None = None, **fields: str) -> Any:
        """Initialise a task with a multipart body; returns the answer."""
        files = {name: (None, value) for name, value in fields.items()}
        return self.post("/task/new/init", files=files or None, headers=headers)

    def begun(self, **fields: str) -> str:
        """Initialise a task that is fine; returns its uuid."""
        uuid: str = self.init(**fields)["uuid"]
        self.made.add(uuid)
        return uuid

    def upload(self, uuid: str, *files: tuple[str, bytes]) -> Any:
        """Send files in one request; returns the answer."""
        parts = [("images", (name, content, "image/jpeg")) for name, content in files]
        return self.post(f"/task/new/upload/{uuid}", files=parts)

    def commit(self, uuid: str) -> Any:
        """Commit; returns the answer."""
        return self.post(f"/task/new/commit/{uuid}")

    def committed(self, names: Sequence[str] = ("a.jpg",), **fields: str) -> str:
        """Make a whole task of small random files; returns its uuid."""
        uuid = self.begun(**fields)
        for name in names:
            assert self.upload(uuid, (name, os.urandom(2000))) == {"success": True}
        assert self.commit(uuid) == {"uuid": uuid}
        return uuid

    def until(self, uuid: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll a task until its info is as wanted."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not wanted(info := self.info(uuid)):
            assert time.monotonic() < deadline_s, f"still {info}"
            time.sleep(POLL_S)
        return info

    def until_ended(self, uuid: str) -> dict[str, Any]:
        """Poll a task until it is failed, completed or canceled."""
        return self.until(uuid, lambda info: info["status"]["code"] in ENDED)

    def until_ready(self, uuid: str) -> dict[str, Any]:
        """Poll a task until its files are in place: queued, or started, or refused."""
        return self.until(uuid, lambda info: info["status"]["code"] != 20 or info["processingTime"] >= 0)

    def raw(
        self, path: str, body: bytes, *, content_type: str = "multipart/form-data; boundary=B", cut: bool = False
    ) -> Any:
        """POST bytes as they are; when cut, promise more than is sent, and hang up."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port or 80), timeout=10) as connection:
            head = (
                f"POST {path}?token={self.token} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n"
                f"Content-Type: {content_type}\r\nContent-Length: {len(body) + 1000 * cut}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            if cut:
                return None
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    """One part of a multipart body with the boundary B."""
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
