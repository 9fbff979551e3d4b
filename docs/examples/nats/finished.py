# ruff: noqa: INP001, T201 a program by itself, which prints what it has to say
"""Runs a command for each task that ends: `python finished.py COMMAND [WORD ...]`, which gets the task and its state as last words.

Where NATS is, NATS_URL says. Events are told once, to whoever listens. So whenever the connection was lost, or this program had not run, what has
ended since is asked for: each end is reported once, in the order of the ends. The time of the last one is kept in `finished.at`.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

URL = os.environ.get("NATS_URL", "")
KEPT = Path(os.environ.get("FINISHED_AT", "finished.at"))
PAGE = 100


async def main(command: list[str]) -> None:
    """Listen until it is interrupted."""
    news = asyncio.Event()

    async def heard(_: Msg | None = None) -> None:
        news.set()

    bus = await nats.connect(
        URL,
        inbox_prefix=f"_INBOX.{urlsplit(URL.split(',')[0]).username}",  # a user hears answers in an inbox of its own alone
        max_reconnect_attempts=-1,
        reconnected_cb=heard,
    )
    await bus.subscribe("clusterodm.event.task.finished", cb=heard)
    seen = read() or {"at_ms": (await overview(bus))["at_ms"], "tasks": []}
    print("listening", flush=True)
    while True:
        for task in await ended_since(bus, seen):
            process = await asyncio.create_subprocess_exec(*command, task["id"], task["state"])
            await process.wait()
            seen = noted(seen, task)
        news.clear()
        await news.wait()


async def ended_since(bus: Client, seen: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask for the tasks that have ended and were not reported, the oldest first."""
    found, offset = [], 0
    while True:
        asked = {
            "states": ["completed", "failed", "canceled"],
            "order": "ended",
            "offset_count": offset,
            "limit_count": PAGE,
        }
        page = (await ask(bus, "scheduler.search_tasks", asked)).get("tasks", [])
        fresh = [task for task in page if task["ended_at_ms"] >= seen["at_ms"]]
        found += [task for task in fresh if task["id"] not in seen["tasks"]]
        if len(fresh) < PAGE:
            return sorted(found, key=lambda task: task["ended_at_ms"])
        offset += PAGE


async def overview(bus: Client) -> dict[str, Any]:
    """Ask how the cluster is; what counts here is its clock."""
    return await ask(bus, "scheduler.get_overview", {})


async def ask(bus: Client, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """Ask the cluster; while nobody answers, again and again: a service may be starting."""
    while True:
        try:
            answer = await bus.request(f"clusterodm.{name}", json.dumps(message).encode(), timeout=10)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            await asyncio.sleep(1)
            continue
        if "Nats-Service-Error-Code" in (answer.headers or {}):
            raise SystemExit(f"{name}: {answer.data.decode()}")
        return json.loads(answer.data)


def noted(seen: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Keep that this end was reported."""
    same_moment = task["ended_at_ms"] == seen["at_ms"]
    now = {"at_ms": task["ended_at_ms"], "tasks": [*(seen["tasks"] if same_moment else []), task["id"]]}
    KEPT.write_text(json.dumps(now))
    return now


def read() -> dict[str, Any]:
    """Read which was the last; empty: there was none."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    if not URL:
        raise SystemExit("NATS_URL is not set; README.md beside this file says how")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
