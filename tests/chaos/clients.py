"""Clients that do not give up: the real PyODM in threads, and raw ones that speak HTTP and look closely at every answer.

Both repeat what may be repeated: a connection that broke, a refusal that says "later" (an upload or a commit with another
status than 200). Neither forgives a lie: a poll of a committed task is answered with 200 and the task's state, or its
connection is closed; anything else is noted in `lies`, because clients take it for the end of the task.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyodm
from pyodm.exceptions import OdmError

from tests.datasets import expected

AGAIN_S = 0.5
POLL_S = 2.0
"""Clients share a process with the relays: they must leave it time."""
GIVE_UP_S = 150.0
LAST_COUNT = 5
CODES = (10, 20, 40)
"""Queued, running, completed: all that a task of these tests may ever be seen as."""


class Stopped(Exception):
    """The test is over."""


class GaveUp(AssertionError):
    """A task did not come to its end in time."""


@dataclass(repr=False)
class Dataset:
    """What one client wants processed, and what it saw."""

    images: list[Path]
    task: str = field(default_factory=lambda: str(uuid.uuid4()))
    webhook: str = ""
    committed: bool = False
    completed: bool = False
    lies: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    """The status codes that its polls were told, each that was another than the one before."""
    broken_count: int = 0
    """Connections that broke."""
    refused_count: int = 0
    """Requests that were refused for now."""
    step: str = ""
    """What its client does."""
    since_s: float = 0.0
    """When it began that, by the monotonic clock."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_COUNT))
    """The last answers, and how connections broke."""

    def __repr__(self) -> str:
        """Show how far its client is."""
        lasts_s = time.monotonic() - self.since_s if self.step else 0
        return (
            f"{self.task} {self.step or 'not begun'} for {lasts_s:.0f} s, broken={self.broken_count}"
            f" refused={self.refused_count} lies={self.lies} last={list(self.last)}"
        )

    def begins(self, step: str) -> None:
        """Say what its client does from now on."""
        self.step, self.since_s = step, time.monotonic()

    @property
    def went_back(self) -> bool:
        """Whether a poll was told an earlier state after a later one, if it was sent once. RUNNING may come before QUEUED: then no slot had been looked for."""
        began = self.codes[1:] if self.codes[:2] == [20, 10] else self.codes
        return began != sorted(began)

    @property
    def digests(self) -> dict[str, str]:
        """Names and digests of its images."""
        return expected(self.images)


class Raw:
    """A client over plain HTTP."""

    def __init__(self, url: str, timeout_s: float = 10.0, give_up_s: float = GIVE_UP_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._give_up_s = give_up_s

    async def run(self, data: Dataset) -> None:
        """Init, upload, commit, poll until completed. Raises GaveUp."""
        try:
            async with self._http() as http, asyncio.timeout(self._give_up_s):
                await self.commit(http, data)
                data.begins("polls")
                while not data.completed:
                    await self.poll(http, data)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise GaveUp(f"not completed in {self._give_up_s:g} s: {data!r}") from None

    async def upload(self, http: httpx.AsyncClient, data: Dataset) -> None:
        """Init and send all images, several at once."""
        data.begins("uploads")
        form = {"name": "raw", "webhook": data.webhook}
        await self._insist(http, data, "/task/new/init", data=form, headers={"set-uuid": data.task})
        async with asyncio.TaskGroup() as group:
            for image in data.images:
                group.create_task(self._send(http, data, image))

    async def commit(self, http: httpx.AsyncClient, data: Dataset) -> None:
        """Upload and commit, however often it takes."""
        await self.upload(http, data)
        data.begins("commits")
        await self._insist(http, data, f"/task/new/commit/{data.task}")
        data.committed = True

    async def poll(self, http: httpx.AsyncClient, data: Dataset) -> int | None:
        """Ask once how the task stands, on a connection of its own: any proxy answers. Its code, None when the connection broke."""
        try:
            answer = await http.get(
                f"/task/{data.task}/info", params={"with_output": -3}, headers={"connection": "close"}
            )
        except httpx.TransportError as error:
            data.broken_count += 1
            data.last.append(repr(error))
            return None
        told = decoded(answer)
        data.last.append(f"{answer.status_code} {told.get('status')} {told.get('error', '')}")
        code = told.get("status", {}).get("code")
        if answer.status_code != 200 or "error" in told or told.get("uuid") != data.task or code not in CODES:
            data.lies.append(f"{answer.status_code} {answer.text[:200]}")
        elif data.completed and code != 40:
            data.lies.append(f"completed, then {code}")
        elif data.codes[-1:] != [code]:
            data.codes.append(code)
        data.completed |= code == 40
        return code if isinstance(code, int) else None

    def _http(self) -> httpx.AsyncClient:
        """Make one. Without TLS: to read the certificates for it takes 50 ms, and stops all other clients of this process meanwhile."""
        return httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=self._timeout_s, verify=False)  # noqa: S501 plain HTTP

    async def _send(self, http: httpx.AsyncClient, data: Dataset, image: Path) -> None:
        content = await asyncio.to_thread(image.read_bytes)
        await self._insist(http, data, f"/task/new/upload/{data.task}", files={"images": (image.name, content)})

    async def _insist(self, http: httpx.AsyncClient, dataset: Dataset, path: str, **more: Any) -> None:
        """Post until it is answered with success."""
        while True:
            try:
                answer = await http.post(path, **more)
            except httpx.TransportError as error:
                dataset.broken_count += 1
                dataset.last.append(f"{path} {error!r}")
            else:
                told = decoded(answer)
                dataset.last.append(f"{path} {answer.status_code} {answer.text[:100]}")
                if answer.status_code == 200 and "error" not in told:
                    return
                dataset.refused_count += 1
                if not told.get("error"):
                    dataset.lies.append(f"a refusal without a reason: {answer.status_code} {answer.text[:200]}")
            await asyncio.sleep(AGAIN_S)


def decoded(answer: httpx.Response) -> dict[str, Any]:
    """Read the JSON of an answer, whatever it is."""
    with contextlib.suppress(ValueError):
        told = answer.json()
        return told if isinstance(told, dict) else {}
    return {}


def run_pyodm(port: int, data: Dataset, stopped: threading.Event) -> None:
    """Create a task with the real PyODM and wait for its end with `wait_for_completion`; in a thread.

    PyODM repeats uploads but neither init nor commit. What its user would do then is done here: go on by hand under the
    same id, which the cluster allows.
    """
    node = pyodm.Node("127.0.0.1", port, timeout=10)
    while not stopped.is_set():
        try:
            task = node.create_task([str(path) for path in data.images], parallel_uploads=3, task_uuid=data.task)
            break
        except OdmError:
            data.broken_count += 1
            if resumed(port, data, stopped):
                task = node.get_task(data.task)
                break
        time.sleep(AGAIN_S)
    else:
        return
    data.committed = True

    def unless_stopped(_info: object) -> None:
        if stopped.is_set():
            raise Stopped

    task.wait_for_completion(interval=POLL_S, status_callback=unless_stopped)
    data.completed = True


def resumed(port: int, data: Dataset, stopped: threading.Event) -> bool:
    """Send again whatever may be missing, and commit; False when the cluster wants it begun anew."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:
        requests: Sequence[tuple[str, dict[str, Any]]] = [
            *((f"/task/new/upload/{data.task}", {"files": {"images": (i.name, i.read_bytes())}}) for i in data.images),
            (f"/task/new/commit/{data.task}", {}),
        ]
        for number, (path, more) in enumerate(requests):
            while not stopped.is_set():
                with contextlib.suppress(httpx.TransportError):
                    answer = http.post(path, **more)
                    told = decoded(answer)
                    if answer.status_code == 200 and "error" not in told:
                        break
                    if "no longer exists" in told.get("error", ""):
                        return number == 0 and committed_already(http, data)
                time.sleep(AGAIN_S)
        return not stopped.is_set()


def committed_already(http: httpx.Client, data: Dataset) -> bool:
    """Whether the commit that failed had come through."""
    with contextlib.suppress(httpx.TransportError):
        return "uuid" in decoded(http.post(f"/task/new/commit/{data.task}"))
    return False
