"""A client that polls one task on new connections, so that any proxy may answer, and what it saw: no state may come before one that was seen."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

import httpx

RANKS = {10: 1, 20: 2, 40: 3}
"""RUNNING before the first QUEUED is the earliest of all: no slot has been looked for in vain yet."""
COMPLETED = 40


@dataclass
class Polled:
    """What a client saw."""

    codes: list[tuple[int, int]] = field(default_factory=list)
    """Port and status code."""
    dropped_count: int = 0

    def _ranked(self) -> list[tuple[int, int]]:
        """Leave out the RUNNING before the first QUEUED."""
        was_queued = any(code == 10 for _, code in self.codes)
        return list(dropwhile(lambda answer: was_queued and answer[1] == 20, self.codes))

    def went_back(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """List the answers that are earlier than one before them."""
        found, highest = [], (0, 10)
        for code in self._ranked():
            if RANKS[code[1]] < RANKS[highest[1]]:
                found.append((highest, code))
            elif RANKS[code[1]] > RANKS[highest[1]]:
                highest = code
        return found


async def poll(port: int, task: str) -> int | None:
    """Ask on a connection of its own; None: it was closed without an answer."""
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /task/{task}/info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (ConnectionError, TimeoutError):  # clients wait no longer, and ask again
        return None
    if not answer:
        return None
    response = httpx.Response(200, content=answer.partition(b"\r\n\r\n")[2])
    assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
    code: int = response.json()["status"]["code"]
    return code


async def follow(ports: Sequence[int], task: str, polled: Polled, for_s: float, chance: random.Random) -> None:
    """Poll by turns until all have said several times that it is completed, and for so long."""
    last: list[int] = []
    until_s = time.monotonic() + for_s
    while last.count(COMPLETED) < 20 or time.monotonic() < until_s:
        port = ports[len(polled.codes) % len(ports)] if not polled.dropped_count % 2 else chance.choice(ports)
        code = await poll(port, task)
        if code is None:
            polled.dropped_count += 1
            await asyncio.sleep(0.05)
            continue
        polled.codes.append((port, code))
        last = [each for _, each in polled.codes[-20:]]
        await asyncio.sleep(0.001)
