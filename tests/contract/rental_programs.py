"""The operator's three programs, as a provider `command` calls them: `python rental_programs.py FOLDER create|list|destroy`.

They keep their machines as files in a folder. What goes wrong with them is the suite's (clusterodm/contract/programs.py).
"""

import json
import sys
from pathlib import Path


def main(folder: Path, verb: str) -> int:
    asked = json.load(sys.stdin)
    answer = {"create": create, "list": found, "destroy": destroy}[verb](folder, asked)
    sys.stdout.write(json.dumps(answer))
    return 0


def create(folder: Path, asked: dict) -> dict:
    number = len(list(folder.glob("*.json"))) + 1
    machine = {"name": asked["name"], "ref": f"job-{number}", "address": "127.0.0.9", "port": 4321, "running": True}
    (folder / f"{asked['name']}.{number}.json").write_text(json.dumps(machine))
    return machine


def found(folder: Path, asked: dict) -> dict:
    _ = asked
    return {"machines": [json.loads(each.read_text()) for each in sorted(folder.glob("*.json"))]}


def destroy(folder: Path, asked: dict) -> dict:
    for file in folder.glob(f"{asked['name']}.*.json"):
        file.unlink()
    return {}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
