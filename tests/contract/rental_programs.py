"""The operator's three programs, as a provider `command` calls them: `python rental_programs.py FOLDER create|list|destroy`.

They keep their machines as files in a folder. A file `fail-<verb>` there holds what shall go wrong, once per line.
"""

import json
import sys
import time
from pathlib import Path


def main(folder: Path, verb: str) -> int:
    asked = json.load(sys.stdin)
    how = planned(folder / f"fail-{verb}")
    if how not in {"", "lost", "late"}:
        return failed(how)
    answer = {"create": create, "list": found, "destroy": destroy}[verb](folder, asked)
    if how:
        return failed(how)
    say(answer)
    return 0


def planned(file: Path) -> str:
    lines = file.read_text().split() if file.exists() else []
    file.write_text("\n".join(lines[1:]))
    return lines[0] if lines else ""


def failed(how: str) -> int:
    troubles = {"capacity": "out-of-capacity", "limit": "out-of-capacity", "unauthorised": "unauthorised"}
    if trouble := troubles.get(how) or ("retryable" if how == "rate" else ""):
        say({"error": {"trouble": trouble, "message": f"made to fail: {how}"}})
        return 1
    if how == "slow":
        time.sleep(60)
    if how == "lost":
        sys.stdout.write('{"ref": "')
        return 0
    sys.stderr.write("it did not work out\n")
    return 3


def say(answer: dict) -> None:
    sys.stdout.write(json.dumps(answer))


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
