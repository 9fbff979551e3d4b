"""Faults around programs: each program is called through this file, which reads what is planned for it.

    words = faults.around("create", ["/opt/machines/create", "--verbose"])

It speaks as docs/providers-command.md says. What is planned lies in a folder; each call takes its own from there under a lock.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ALWAYS: Final = 1_000_000
TROUBLES: Final = {
    "capacity": "out-of-capacity",
    "limit": "out-of-capacity",
    "unauthorised": "unauthorised",
    "rate": "retryable",
}
LONG_S: Final = 60.0
CARRIED_OUT: Final = ("", "lost", "late")


class ProgramFaults:
    """See failures.Faults."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "plan.json"
        self.clear()

    def __repr__(self) -> str:
        """Show where the plan lies."""
        return f"ProgramFaults({self._file})"

    def around(self, step: str, words: Sequence[str]) -> list[str]:
        """Give the words that call a program so that it may go wrong; `step`: create, list or remove."""
        return [sys.executable, "-S", str(Path(__file__)), str(self._file), step, *words]

    def plan(self, step: str, how: str, times: int = ALWAYS) -> None:
        """See failures.Faults."""
        plan = json.loads(self._file.read_text())
        plan["planned"].append([str(step), str(how), times])
        self._file.write_text(json.dumps(plan))

    def cut_after(self, calls_count: int) -> None:
        """See failures.Faults."""
        self._file.write_text(json.dumps({"planned": [], "cut": calls_count}))

    def clear(self) -> None:
        """See failures.Faults."""
        self._file.write_text(json.dumps({"planned": [], "cut": None}))


def planned(file: Path, step: str) -> str:
    """Take what shall go wrong with this call; empty: nothing."""
    with file.open("r+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        plan = json.load(opened)
        how = taken(plan, step)
        opened.seek(0)
        opened.truncate()
        json.dump(plan, opened)
    return how


def taken(plan: dict[str, object], step: str) -> str:
    """Take it out of the plan."""
    cut = plan.get("cut")
    if isinstance(cut, int):
        plan["cut"] = cut - 1
        if cut <= 1:
            return "lost" if cut == 1 else "broken"
    found = plan["planned"]
    for each in found if isinstance(found, list) else []:
        if each[2] and each[0] in {step, "any"}:
            each[2] -= 1
            return str(each[1])
    return ""


def main(file: Path, step: str, words: Sequence[str]) -> int:
    """Call a program, or let it go wrong."""
    how = planned(file, step)
    if how not in CARRIED_OUT:
        return went_wrong(how)
    asked = sys.stdin.buffer.read()
    ended = subprocess.run(words, input=asked, stdout=subprocess.PIPE, check=False)  # noqa: S603 the trial's program
    if how == "late":
        return went_wrong("error")
    sys.stdout.buffer.write(b'{"ref": "' if how == "lost" else ended.stdout)
    return ended.returncode


def went_wrong(how: str) -> int:
    """Fail without doing anything."""
    if how in TROUBLES:
        sys.stdout.write(json.dumps({"error": {"trouble": TROUBLES[how], "message": f"made to fail: {how}"}}))
        return 1
    if how == "nonsense":
        sys.stdout.write("<html><body>Please sign in</body></html>")
        return 0
    if how == "slow":
        time.sleep(LONG_S)
    if how == "broken":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write("it did not work out\n")
    return 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
