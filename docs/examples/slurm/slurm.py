# ruff: noqa: INP001 - programs, no package
"""What the three programs share: talking to SLURM, and the folder in which a machine's files lie.

A machine is a job; its name is the job's. The folder must be on a file system that the login node and the compute nodes
share: the job writes there on which host and port its node listens.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(os.environ.get("CLUSTERODM_SLURM_FOLDER", "~/.clusterodm-slurm")).expanduser()
TIMEOUT_S = 30
TROUBLES = {
    "out-of-capacity": ("QOSMax", "AssocMax", "MaxSubmitJob", "exceed", "limit"),
    "unauthorised": ("Invalid account", "Access denied", "Permission denied"),
    "unknown-outcome": ("Socket timed out",),
    "retryable": ("Unable to contact slurm controller", "Zero Bytes were transmitted"),
    "refused": ("Invalid", "invalid", "unrecognized option", "Requested node configuration is not available"),
}
"""What SLURM says, and what it means for the next try; the first that fits."""


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


def call(*words: str, usual: str = "retryable") -> str:
    """Call a program of SLURM; what it prints. Ends with what a failure means."""
    try:
        ran = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - ours
    except subprocess.TimeoutExpired:
        fail(usual, f"{words[0]} gave no answer in {TIMEOUT_S} s")
    except OSError as error:
        fail("refused", f"{words[0]}: {error.strerror}")
    if ran.returncode:
        fail(meaning(ran.stderr, usual), f"{words[0]}: {ran.stderr.strip()}")
    return ran.stdout


def meaning(text: str, usual: str) -> str:
    """Say what SLURM's words mean."""
    return next((trouble for trouble, signs in TROUBLES.items() if any(sign in text for sign in signs)), usual)


def jobs() -> list[tuple[str, str, str]]:
    """List our jobs that wait, run or are ending: name, number, state."""
    lines = call("squeue", "--me", "--noheader", "--format=%j|%i|%T").splitlines()
    name, number, state = range(3)
    found = [line.strip().split("|") for line in lines if "|" in line]
    return [(each[name], each[number], each[state]) for each in found]


def address(name: str) -> tuple[str, int]:
    """Where a machine's node listens, once its job has said so."""
    try:
        host, port = (FOLDER / name / "address").read_text().split()
    except (OSError, ValueError):
        return "", 0
    return host, int(port)
