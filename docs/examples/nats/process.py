# ruff: noqa: INP001, T201 a program by itself, which prints what it has to say
"""Has the images behind an address processed: `python process.py NAME ADDRESS [OPTION=VALUE ...]`.

Where NATS is, NATS_URL says. The task is followed over NATS alone: events tell what happens, its console is read a line at a time. It ends with
0 when the task was completed, 1 when not, 2 when it was not taken. Interrupted, it cancels the task.
"""

import asyncio
import contextlib
import json
import os
import sys
import uuid
from typing import Any
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

URL = os.environ.get("NATS_URL", "")
LOOK_S = 2.0
ENDS = ("completed", "failed", "canceled")


async def main(name: str, address: str, options: list[str]) -> int:
    """Submit it and follow it."""
    bus = await nats.connect(
        URL,
        inbox_prefix=f"_INBOX.{urlsplit(URL.split(',')[0]).username}",  # a user hears answers in an inbox of its own alone
        max_reconnect_attempts=-1,
    )
    task, news = str(uuid.uuid4()), asyncio.Event()

    async def heard(message: Msg) -> None:
        event = json.loads(message.data)
        if event["task"] == task:
            print(f"{message.subject.rpartition('.')[2]}: {event.get('reason', '')}".rstrip(": "), flush=True)
            news.set()

    await bus.subscribe("clusterodm.event.task.*", cb=heard)  # before it is submitted: nothing is missed
    await bus.flush()
    submitted = {"task": task, "name": name, "zip_url": address, "options": [option(each) for each in options]}
    try:
        await ask(bus, "scheduler.submit_from_url", submitted)
        print(f"task {task}", flush=True)
        return await followed(bus, task, news)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        await ask(bus, "scheduler.cancel_task", {"task": task})
        raise
    finally:
        await bus.close()


async def followed(bus: Client, task: str, news: asyncio.Event) -> int:
    """Show its console until it has ended."""
    lines_count = 0
    while True:
        news.clear()
        told = (await ask(bus, "scheduler.describe_task", {"task": task}))["summary"]
        console = (await ask(bus, "scheduler.read_console", {"task": task, "from_line": lines_count})).get("lines", [])
        for line in console:
            print(f"  {line}", flush=True)
        lines_count += len(console)
        if told["state"] in ENDS:
            print(f"{told['state']}: {told.get('reason', '')}".rstrip(": "), flush=True)
            return 0 if told["state"] == "completed" else 1
        with contextlib.suppress(
            TimeoutError
        ):  # events are told once: one that was missed is no reason to wait for ever
            await asyncio.wait_for(news.wait(), LOOK_S)


class Refused(Exception):
    """The cluster says no, and why."""


async def ask(bus: Client, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """Ask the cluster; while nobody answers, again and again. What is asked here does no harm twice."""
    while True:
        try:
            answer = await bus.request(f"clusterodm.{name}", json.dumps(message).encode(), timeout=10)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            await asyncio.sleep(1)
            continue
        if "Nats-Service-Error-Code" in (answer.headers or {}):
            raise Refused(answer.data.decode())
        return json.loads(answer.data)


def option(word: str) -> dict[str, Any]:
    """Read an option: `dsm=true`."""
    name, _, value = word.partition("=")
    try:
        return {"name": name, "value": json.loads(value)}
    except ValueError:
        return {"name": name, "value": value}


if __name__ == "__main__":
    name, address, *options = sys.argv[1:] if sys.argv[2:] else sys.exit(__doc__)
    if not URL:
        sys.exit("NATS_URL is not set; README.md beside this file says how")
    try:
        raise SystemExit(asyncio.run(main(name, address, options)))
    except KeyboardInterrupt:
        raise SystemExit(1) from None
