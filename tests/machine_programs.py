"""The operator's three programs for whole clusters: `python machine_programs.py FOLDER create|list|destroy`.

A machine is a file `<name>.<number>.json`; its node is a simulated one on an address of its own in 127.0.0.0/8. While a file
`hold` exists, a machine that is made is not told of.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from clusterodm.libs.machinesim.cloud_api_machines import NODE_PORT, free_address
from clusterodm.libs.machinesim.node_flags import node_of, settings_of, write_private

REPOSITORY = Path(__file__).parents[1]
LIFE_S = "300"
"""No node outlives its test by more."""


def main(folder: Path, verb: str) -> int:
    answer = {"create": create, "list": found, "destroy": destroy}[verb](folder, json.load(sys.stdin))
    sys.stdout.write(json.dumps(answer))
    return 0


def create(folder: Path, asked: dict) -> dict:
    number = len((folder / "made").read_text().split()) if (folder / "made").exists() else 0
    address = free_address(NODE_PORT, set())
    place = folder / "nodes" / f"{asked['name']}.{number}"
    settings = settings_of(node_of(asked["node_arguments"]), address, NODE_PORT, place)
    write_private(place / "settings.json", settings | json.loads(os.environ["NODE_SETTINGS"]))
    process = subprocess.Popen(
        [
            "/usr/bin/timeout",
            LIFE_S,
            sys.executable,
            "-m",
            "clusterodm.libs.machinesim.node",
            str(place / "settings.json"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    machine = {"name": asked["name"], "ref": f"job-{number}", "address": address, "pid": process.pid}
    (folder / f"{asked['name']}.{number}.json").write_text(json.dumps(machine))
    with (folder / "made").open("a") as book:
        book.write(f"{asked['name']}\n")
    while (folder / "hold").exists():
        time.sleep(0.02)
    return {key: value for key, value in machine.items() if key != "pid"}


def found(folder: Path, _asked: dict) -> dict:
    return {"machines": [json.loads(each.read_text()) for each in sorted(folder.glob("*.json"))]}


def destroy(folder: Path, asked: dict) -> dict:
    for file in folder.glob(f"{asked['name']}.*.json"):
        end(file)
    return {}


def end(file: Path) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(json.loads(file.read_text())["pid"], signal.SIGKILL)
    file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
