# ruff: noqa: INP001 - programs, no package
"""What the three programs share: talking to PBS (OpenPBS, PBS Professional, TORQUE), and the folder in which a machine's files lie.

A machine is a job; its name is the job's. The folder must be on a file system that this host and the execution hosts share: the job
reads there what it is to run, and writes on which host and port its node listens.
"""

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(os.environ.get("CLUSTERODM_PBS_FOLDER", "~/.clusterodm-pbs")).expanduser()
TIMEOUT_S = 30
RUNNING = "R"
ENDED = ("C", "F")
"""TORQUE shows a job for some minutes after its end."""
LINE = re.compile(r"(?:Job Id: |    )(?P<key>\S+)(?: = (?P<value>.*))?")
"""A line of `qstat -f`; what it wraps begins with a tab, and neither a name nor a state is that long."""
NOT_THERE = ("Unknown Job Id", "Job has finished")
"""An id that has ended since it was listed."""
TROUBLES = {
    "out-of-capacity": ("would exceed", "Maximum number of jobs", "Budget exceeded"),
    "unauthorised": (
        "Unauthorized Request",
        "Bad UID",
        "No Permission",
        "Invalid credential",
        "denied",
        "Invalid Account",
    ),
    "unknown-outcome": ("Communication failure", "End of File", "protocol error", "timed out"),
    "retryable": ("cannot connect to server", "Connection refused", "shutting down", "not enabled", "not started"),
    "refused": ("Unknown queue", "Unknown resource", "Illegal attribute", "illegal -", "violates", "exceeds", "usage:"),
}
"""What PBS says, and what it means for the next try; the first that fits."""


def asked() -> dict[str, Any]:
    """Read what we are asked for."""
    return json.load(sys.stdin)


def answer(content: dict[str, Any]) -> None:
    """Answer."""
    json.dump(content, sys.stdout)


def fail(trouble: str, message: str) -> NoReturn:
    """Say what is wrong, and end."""
    answer({"error": {"trouble": trouble, "message": message}})
    sys.exit(1)


def call(*words: str, usual: str = "retryable", missing_ok: bool = False) -> str:
    """Call a program of PBS; what it prints. Ends with what a failure means; `missing_ok`: jobs that have ended are none."""
    try:
        ran = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - ours
    except subprocess.TimeoutExpired:
        fail(usual, f"{words[0]} gave no answer in {TIMEOUT_S} s")
    except OSError as error:
        fail("refused", f"{words[0]}: {error.strerror}")
    said = ran.stderr.strip().splitlines()
    if ran.returncode and not (missing_ok and said and all(any(sign in line for sign in NOT_THERE) for line in said)):
        fail(meaning(ran.stderr, usual), f"{words[0]}: {ran.stderr.strip()}")
    return ran.stdout


def meaning(text: str, usual: str) -> str:
    """Say what PBS's words mean."""
    return next((trouble for trouble, signs in TROUBLES.items() if any(sign in text for sign in signs)), usual)


def jobs() -> list[tuple[str, str, str]]:
    """List our jobs that have not ended: name, id, state."""
    ids = call("qselect", "-u", getpass.getuser()).split()
    if not ids:
        return []
    found: list[dict[str, str]] = []
    for line in call("qstat", "-f", *ids, missing_ok=True).splitlines():
        read = LINE.fullmatch(line)
        if read and read["value"] is None:
            found.append({"id": read["key"]})
        elif read and found:
            found[-1][read["key"]] = read["value"]
    told = [(each.get("Job_Name", ""), each["id"], each.get("job_state", "")) for each in found]
    return [(name, number, state) for name, number, state in told if state not in ENDED]


def address(name: str) -> tuple[str, int]:
    """Where a machine's node listens, once its job has said so."""
    try:
        host, port = (FOLDER / name / "address").read_text().split()
    except (OSError, ValueError):
        return "", 0
    return host, int(port)
