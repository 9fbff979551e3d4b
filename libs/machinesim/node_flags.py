"""The flags that NodeODM is started with on a rented machine, as the simulated node takes them.

They are read as strictly as NodeODM and docker do: an unknown flag or a missing value starts no node. What a node does
with results (`--s3_*`) is a program of its own (clusterodm.libs.machinesim.results), whose keys lie in a file: command lines are for
all to see.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

RUN_FLAGS: Final = {"-p": True, "--gpus": True, "--mount": True, "--name": True, "-d": False}
"""Flags of `docker run`, and whether they have a value."""
IGNORE_SSL: Final = "--s3_ignore_ssl"
NODE_FLAGS: Final = {
    "-q": "queue",
    "--max_images": "max_images",
    "--token": "token",
    "--webhook": "webhook",
    "--s3_access_key": "access_key",
    "--s3_secret_key": "secret_key",
    "--s3_endpoint": "endpoint",
    "--s3_bucket": "bucket",
    "--s3_acl": "acl",
}


class WrongFlag(ValueError):
    """The message is what the program says before it gives up."""


def container_of(words: Sequence[str]) -> tuple[dict[str, str], str, list[str]]:
    """Take the words behind `docker run` apart: the container's flags, the image, the node's words. Raises WrongFlag."""
    left = list(words)
    container: dict[str, str] = {}
    while left and left[0].startswith("-"):
        flag = left.pop(0)
        if flag not in RUN_FLAGS:
            raise WrongFlag(f"unknown flag: {flag}")
        container[flag] = left.pop(0) if RUN_FLAGS[flag] and left else ""
    if not left:
        raise WrongFlag('"docker run" requires at least 1 argument.')
    return container, left[0], left[1:]


def node_of(words: Sequence[str]) -> dict[str, str]:
    """Read NodeODM's flags. Raises WrongFlag."""
    left = list(words)
    node: dict[str, str] = {}
    while left:
        flag = left.pop(0)
        if flag == IGNORE_SSL:
            node["ignore_ssl"] = "true"
        elif flag in NODE_FLAGS and left:
            node[NODE_FLAGS[flag]] = left.pop(0)
        else:
            raise WrongFlag(f"Unknown argument: {flag}")
    return node


def settings_of(node: dict[str, str], address: str, port: int, folder: Path) -> dict[str, Any]:
    """Give the settings of the simulated node, and write the file with the keys of its bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "host": address,
        "port": port,
        "data_dir": str(folder / "data"),
        "event_log": str(folder / "events.jsonl"),
        "token": node.get("token", ""),
        "webhook": node.get("webhook", ""),
        "max_images": int(node.get("max_images", 0)),
        "parallel_tasks": int(node.get("queue", 1)),
    }
    if "bucket" in node:
        write_private(folder / "s3.json", node)
        settings["result_command"] = f"{sys.executable} -m clusterodm.libs.machinesim.results {folder / 's3.json'}"
    return settings


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write a file that nobody else reads."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
