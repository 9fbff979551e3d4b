# ruff: noqa: INP001 - programs, no package
"""What the programs share: talking to Apptainer, and the folder in which a machine's files lie.

A machine is a named instance of the image on this computer (`apptainer instance list`); nothing else is remembered but where its node
listens and what it has been given.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(os.environ.get("CLUSTERODM_APPTAINER_FOLDER", "~/.clusterodm-apptainer")).expanduser()
HOST = os.environ.get("CLUSTERODM_HOST", "127.0.0.1")
TIMEOUT_S = 30
NOT_THERE = ("no instance found",)
TROUBLES = {
    "out-of-capacity": (
        "cannot allocate memory",
        "Cannot allocate memory",
        "no space left on device",
        "Resource temporarily",
    ),
    "unauthorised": ("unauthorized", "authentication required", "denied: requested access"),
    "refused": (
        "no such file or directory",
        "unknown flag",
        "cgroups",
        "manifest unknown",
        "permission denied",
        "invalid",
    ),
}
"""What Apptainer says, and what it means for the next try; the first that fits."""


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


def call(*words: str, timeout_s: float = TIMEOUT_S) -> tuple[int, str, str]:
    """Call Apptainer: its exit code, what it prints and what it says. Ends where it is not there or gives no answer."""
    try:
        ran = subprocess.run(  # noqa: S603 - ours
            ["apptainer", *words],  # noqa: S607 - wherever it is installed
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        fail("unknown-outcome", f"apptainer {words[0]} {words[1]} gave no answer in {timeout_s:g} s")
    except OSError as error:
        fail("refused", f"apptainer: {error.strerror}")
    return ran.returncode, ran.stdout, ran.stderr.strip()


def meaning(text: str) -> str:
    """Say what Apptainer's words mean; an instance that did not start is not there."""
    return next((trouble for trouble, signs in TROUBLES.items() if any(sign in text for sign in signs)), "retryable")


def last_line(text: str) -> str:
    """Give the sentence that counts: the first that Apptainer marks as fatal, else the last."""
    lines = text.splitlines() or ["no word of why"]
    return next((line for line in lines if line.startswith("FATAL")), lines[-1])


def instances() -> dict[str, int]:
    """List our instances: names and process ids."""
    code, output, told = call("instance", "list", "--json")
    if code:
        fail("retryable", f"apptainer instance list: {last_line(told)}")
    try:
        listed = json.loads(output)["instances"] or []
        return {str(each["instance"]): int(each["pid"]) for each in listed}
    except (ValueError, KeyError, TypeError):
        fail("retryable", "apptainer instance list: the answer was not understood")


def stop(name: str) -> None:
    """Stop an instance: its processes are asked to end, and killed after ten seconds. One that is not there is stopped."""
    code, _, told = call("instance", "stop", name)
    if code and not any(sign in told for sign in NOT_THERE):
        fail("retryable", f"apptainer instance stop: {last_line(told)}")


def address(name: str) -> tuple[str, int]:
    """Where a machine's node listens."""
    try:
        host, port = (FOLDER / name / "address").read_text().split()
    except (OSError, ValueError):
        return "", 0
    return host, int(port)
