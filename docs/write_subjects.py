"""Writes docs/subjects.md from libs/common/messages: `python docs/write_subjects.py`. A test keeps the two together."""
# ruff: noqa: INP001 a script beside the documents that it writes

import argparse
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from clusterodm.deploy.nats_users import USERS  # noqa: E402 found beside this file when it runs by itself
from clusterodm.libs.common import messages, model  # noqa: E402 found beside this file when it runs by itself
from clusterodm.libs.common.messages.catalogue import catalogue  # noqa: E402 same
from clusterodm.libs.common.messages.kinds import Announcement, BucketName, Event, Request, Snapshot  # noqa: E402 same

TARGET: Final = Path(__file__).with_name("subjects.md")

INTRODUCTION: Final = """\
# Subjects

What travels over NATS, with an example of each: requests, events, snapshots, and the key-value buckets. Integrations may rely
on it: fields are only ever added, with a default; a reader ignores fields it does not know. A field at its default is left
out, so an example shows more than most messages hold. Written by `python docs/write_subjects.py` from
`libs/common/messages`; do not edit.

A request is answered with the reply, or refused through `nats.micro`'s headers: `Nats-Service-Error-Code` is one of
{errors}, and the body is a sentence. Every request and event carries `Clusterodm-Cause`, the id of what caused it.

## For programs of yours

The user `integration` of NATS is made for them: it may ask and hear what its row in the table below says, and nothing else; no answer to it holds a
secret ([decision 124](decisions/0124-a-user-of-nats-for-programs-of-others.md)). The user `operator` may do everything, and is none to give away.

| how the cluster runs | URL of `integration` |
|---|---|
| `clusterodm up` | `integration_url` in `data/cluster.json` (mode 0600, there as long as it runs; another directory: `--data-dir`). It is the same after each restart |
| Compose | `nats://integration:PASSWORD@nats:4222` in the network `bus`; the password is `NATS_INTEGRATION_PASSWORD` in the file `.env` beside it |
| Kubernetes | `nats://integration:PASSWORD@nats:4222`; the password is `NATS_INTEGRATION_PASSWORD` in the Secret `nats-users` |
| NATS of your own (`--nats-url`) | include `deploy/nats-users.conf`, or make a user with these subjects |

A user of NATS is answered in an inbox of its own, `_INBOX.<user>.>`, so every client has to be told to use it: else nothing ever arrives. With the
`nats` program (the address comes by environment, because a command line is read by every user of the computer):

```
export NATS_URL=$(python3 -c 'import json; print(json.load(open("data/cluster.json"))["integration_url"])')
nats --inbox-prefix _INBOX.integration req clusterodm.scheduler.list_nodes '{{}}'
nats --inbox-prefix _INBOX.integration req clusterodm.scheduler.search_tasks '{{"states":["running","waiting"]}}'
nats --inbox-prefix _INBOX.integration req clusterodm.scheduler.read_console '{{"task":"{task}","from_line":-20}}'
nats sub 'clusterodm.event.task.*'
```

and without it, with the Python of the cluster (`.venv/bin/python`) or any that has nats-py:

```python
# ask.py: `python ask.py scheduler.list_nodes '{{}}'`
import asyncio, os, sys, nats


async def main(name, message="{{}}"):
    bus = await nats.connect(os.environ["NATS_URL"], inbox_prefix="_INBOX.integration")
    answer = await bus.request(f"clusterodm.{{name}}", message.encode(), timeout=5)
    print(answer.data.decode())


asyncio.run(main(*sys.argv[1:]))
```

Two whole programs are in [examples/nats](examples/nats/README.md): one that runs a command for each task that ends, and one that has the images behind an
address processed and follows that over NATS alone. An event is told once, to whoever listens: who was away asks for what has changed since
(`search_tasks`). A request that nobody answers may be sent again where it says so in [libs/common/messages](../libs/common/messages); between two
leaders there is nobody for a second or two.

### Who may ask and hear what

{permissions}

What each may do with streams and buckets is in `deploy/nats-users.conf`; `deploy/nats_users.py` makes both of one table.

## Records

A record in a bucket carries the header `Clusterodm-Fields`: how many fields the version knew that wrote it. Whoever writes fields of
its own into records gives a higher number than it found: without it they go with the next update by a service.
"""

TASK: Final = "5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44"
SAMPLES: Final[dict[str, object]] = {
    "level": "debug",
    "task": TASK,
    "tasks": [TASK],
    "after": TASK,
    "node_task_id": TASK,
    "node": "192.168.1.20-3000",
    "node_name": "192.168.1.20:3000",
    "hostname": "192.168.1.20",
    "port": 3000,
    "token": "node-token",
    "upload_owner": "proxy-3f9a2b7c",
    "instance": "proxy-3f9a2b7c",
    "owner": "2bb80d537b1da3e38bd30361aa855686",
    "machine": "clusterodm-150-3f9a2b",
    "url": "http://proxy-1:3000",
    "zip_url": "https://photos.example/field.zip",
    "reason": "smallest node with a free slot",
    "error": "Cannot process dataset",
    "outputs": '["odm_orthophoto/odm_orthophoto.tif"]',
    "labels": ["gpu"],
    "console_tail": ["[INFO]    Running dataset stage"],
    "lines": ["[INFO]    Running dataset stage"],
    "version": "2.2.4",
    "engine": "odm",
    "engine_version": "3.5.6",
    "revision": 412,
    "attempt": 1,
    "number": 1,
    "position": 3,
    "limit_count": 100,
    "from_line": -10,
    "progress": 42.5,
    "domain": "bool",
    "type": "bool",
    "value": "true",
    "help": "Use this tag to build a digital surface model",
    "trouble": "no answer for 10 s",
    "text": "sent to 192.168.1.20:3000",
    "waiting_because": "all nodes are busy",
    "command": "docker-machine create --driver digitalocean --digitalocean-access-token *** clusterodm-150-3f9a2b",
    "at_ms": 1795349070789,
    "url_path": "/",
    "asset": "all.zip",
}
"""Examples of fields by their names, where the name says more than the type."""
LISTS: Final[dict[str, list[object]]] = {"outputs": ["odm_orthophoto/odm_orthophoto.tif"]}
"""The same for those fields that are a list here and a text there."""
BY_UNIT: Final = {"_ms": 1795349070789, "_s": 5.0, "_bytes": 8388608, "_count": 2}
NAMES_WITH_NAME: Final = {"NodeOption": "dsm", "OptionValue": "dsm"}
DEEPEST: Final = 4


def main() -> int:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(render(), encoding="utf-8")
    return 0


def render() -> str:
    """Make the whole document."""
    errors = ", ".join(f"`{name}`" for name in sorted(messages_errors()))
    parts = [INTRODUCTION.format(errors=errors, task=TASK, permissions=permissions())]
    parts += chapter("Requests", [request(each) for each in declared(Request)])
    parts += chapter("Events", [told(each, kept_where(each)) for each in declared(Event)])
    parts += chapter(
        "Snapshots", [told(each, f"last value in the stream `{each.stream}`") for each in declared(Snapshot)]
    )
    parts += chapter("Buckets", [bucket(each) for each in declared(BucketName)])
    return "\n".join(parts)


def kept_where(event: Event[Any]) -> str:
    """Say what becomes of an event that nobody has heard."""
    return "kept nowhere" if isinstance(event, Announcement) else "kept in the stream `EVENTS`"


def permissions() -> str:
    """Write who may request, publish and subscribe to what."""
    lines = ["| user | requests | publishes | subscribes to |", "|---|---|---|---|"]
    for user, rights in USERS.items():
        hears = [*(each.name for each in rights.subscribes), *(f"{noun}.*" for noun in rights.subscribes_to)]
        told = [*(each.name for each in rights.publishes), *(each.name for each in rights.sets)]
        heard = [*hears, *(each.name for each in rights.watches), *(["all events"] if rights.reads_events else [])]
        asks = [each.name for each in rights.requests]
        lines.append(f"| `{user}` | {worded(asks)} | {worded(told)} | {worded(heard)} |")
    return "\n".join([*lines, "| `operator` | everything | everything | everything |"])


def worded(names: list[str]) -> str:
    """List names."""
    return ", ".join(f"`{name}`" if " " not in name else name for name in names) or "-"


def messages_errors() -> list[str]:
    """Name the errors as they stand on the wire."""
    from clusterodm.libs.common.errors import ERROR_NAMES

    return list(ERROR_NAMES)


def declared(kind: type) -> list[Any]:
    """Find everything of a kind that the messages declare, in their order."""
    return [value for value in catalogue().values() if isinstance(value, kind)]


def chapter(title: str, sections: list[str]) -> list[str]:
    """Put sections under a title."""
    return [f"## {title}\n", *sections]


def request(asked: Request[Any, Any]) -> str:
    """Describe one request."""
    replies = list(members(asked.reply))
    lines = [heading(asked.subject, asked.payload), "```", encoded(asked.payload)]
    lines += [f"→ {encoded(reply)}" for reply in replies]
    return "\n".join([*lines, "```\n"])


def told(message: Any, kept: str) -> str:
    """Describe one event or snapshot."""
    return "\n".join([heading(message.subject, message.payload, kept), "```", encoded(message.payload), "```\n"])


def bucket(name: BucketName[Any]) -> str:
    """Describe one bucket."""
    title = heading(f"KV {name.name}", name.value, f"written by the {name.writer} alone")
    return "\n".join([title, "```", encoded(name.value), "```\n"])


def heading(title: str, kind: type, more: str = "") -> str:
    """Make the title of a message and the first sentence of its type."""
    said = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return f"### `{title}`\n\n{said}{f' ({more})' if more else ''}\n"


def encoded(kind: type) -> str:
    """Write an example as it travels."""
    return msgspec.json.encode(example(kind)).decode()


def members(reply: Any) -> Iterator[type]:
    """List the types that a reply may have."""
    yield from typing.get_args(reply) if isinstance(reply, types.UnionType) else (reply,)


def example(kind: type, depth: int = 0) -> Any:
    """Make an example of a Struct in which every field is set."""
    hints = typing.get_type_hints(kind)
    values = {
        field.name: sample(kind, field.name, hints[field.name], depth)
        for field in msgspec.structs.fields(kind)
        if depth < DEEPEST or field.required
    }
    return kind(**{name: value for name, value in values.items() if value is not None})


def sample(owner: type, name: str, hint: Any, depth: int) -> Any:
    """Make an example of a field: by its type where that is a Struct or an Enum, else by its name, else by its unit."""
    inner = bare(hint)
    if typing.get_origin(inner) is tuple or typing.get_origin(inner) is list:
        return several(owner, name, inner, depth)
    if is_struct(inner):
        return example(inner, depth + 1)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return list(inner)[min(1, len(inner) - 1)]
    return plain(owner, name, inner)


def several(owner: type, name: str, kind: Any, depth: int) -> Any:
    """Make an example of a field with several values."""
    item = bare(typing.get_args(kind)[0])
    if is_struct(item):
        return typing.get_origin(kind)([example(item, depth + 1)])
    if isinstance(item, type) and issubclass(item, Enum):
        return typing.get_origin(kind)([next(iter(item))])
    if item in {int, float} and Ellipsis not in typing.get_args(kind):  # so many numbers, in order
        first, step = plain(owner, name, item), 600_000 if item is int else 0.1
        return tuple(item(first + number * step) for number in range(len(typing.get_args(kind))))
    return typing.get_origin(kind)(LISTS.get(name) or typing.cast("list[Any]", SAMPLES.get(name, ["..."])))


def plain(owner: type, name: str, kind: Any) -> Any:
    """Make an example of a field that is a text or a number."""
    if name == "id":
        return SAMPLES["node"] if owner.__name__.startswith("Node") else TASK
    if name == "name":
        return NAMES_WITH_NAME.get(owner.__name__, "North field")
    if name in SAMPLES:
        return SAMPLES[name]
    for unit, value in BY_UNIT.items():
        if name.endswith(unit):
            return int(value) if kind is int else value
    return {bool: True, int: 2, float: 0.5, str: "..."}.get(kind)


def bare(hint: Any) -> Any:
    """Take `| None`, unions and NewTypes off a type: the first thing that it may be."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(member for member in typing.get_args(hint) if member is not type(None))
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    return hint


def is_struct(kind: Any) -> bool:
    """Whether a type is one of our records."""
    return (
        isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__.startswith((messages.__name__, model.__name__))
    )


if __name__ == "__main__":
    raise SystemExit(main())
