"""`docker` on a machine of the stand-in: login, ps, run. `run` starts a simulated node on the machine's address."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from libs.machinesim.place import Place, read_json, write_json

LIFE_S: Final = 300
"""No node outlives its test by more."""
RUN_FLAGS: Final = {"-p": True, "--gpus": True, "--mount": True, "--name": True, "-d": False}
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


def main(words: Sequence[str]) -> int:
    """Run one command."""
    place, name = Place.of_environment(), os.environ["MACHINESIM_MACHINE"]
    machine = read_json(place.cloud / f"{name}.json") or {}
    command, *rest = words
    if command == "ps":
        if rest != ["-aq", "--filter", "publish=3000"]:
            return wrong(f"unknown arguments of ps: {rest}")
        if "pid" in machine:
            print("0123456789ab")  # noqa: T201 what the program says
        return 0
    if command == "login":
        machine["login"] = {"words": rest, "password": len(sys.stdin.read())}
        write_json(place.cloud / f"{name}.json", machine)
        return 0
    if command == "run":
        return run(place, machine, rest)
    return wrong(f"docker: '{command}' is not a docker command.")


def run(place: Place, machine: dict[str, Any], words: list[str]) -> int:
    """Start the container: the node."""
    message = place.take_failure("docker-run")
    if message is not None:
        return wrong(message)
    container: dict[str, str] = {}
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag not in RUN_FLAGS:
            return wrong(f"unknown flag: {flag}")
        container[flag] = words.pop(0) if RUN_FLAGS[flag] else ""
    image, *rest = words
    node: dict[str, str] = {}
    while rest:
        flag = rest.pop(0)
        if flag == "--s3_ignore_ssl":
            node["ignore_ssl"] = "true"
        elif flag in NODE_FLAGS and rest:
            node[NODE_FLAGS[flag]] = rest.pop(0)
        else:
            return wrong(f"Unknown argument: {flag}")
    machine |= {"image": image, "container": container, "node_flags": sorted(node), "pid": start(place, machine, node)}
    write_json(place.cloud / f"{machine['name']}.json", machine)
    print("0123456789abcdef")  # noqa: T201 what the program says
    return 0


def start(place: Place, machine: dict[str, Any], node: dict[str, str]) -> int:
    """Start the node as a process of its own; its settings are in a file, for they hold secrets."""
    folder = place.root / "nodes" / machine["name"]
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "host": machine["address"],
        "port": 3000,
        "data_dir": str(folder / "data"),
        "event_log": str(folder / "events.jsonl"),
        "token": node.get("token", ""),
        "webhook": node.get("webhook", ""),
        "max_images": int(node.get("max_images", 0)),
    } | place.knobs().get("node", {})
    if "bucket" in node:
        write_private(folder / "s3.json", node)
        settings["result_command"] = f"{sys.executable} -m libs.machinesim.results {folder / 's3.json'}"
    write_private(folder / "settings.json", settings)
    process = subprocess.Popen(  # noqa: S603 our own program
        ["/usr/bin/timeout", str(LIFE_S), sys.executable, "-m", "libs.machinesim.node", str(folder / "settings.json")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr.txt").open("wb"),
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    return process.pid


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write a file that nobody else reads."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))


def wrong(message: str) -> int:
    """Say what is wrong."""
    print(message, file=sys.stderr)  # noqa: T201 what the program says
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
