"""Other people's programs: finding them, running them, reading what they print."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

LIMIT_S = 180.0


class MissingProgram(Exception):
    """A program is not installed, or cannot be; the message is one line for the user."""


class Broken(Exception):
    """Something did not do what was to be measured; its figure would be a lie."""


def program(name: str, package: str = "") -> str:
    """Find a program. Raises MissingProgram."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgram(f"{name} is not installed (apt-get install {package or name})")
    return found


async def output_of(*command: str, limit_s: float = LIMIT_S, folder: Path | None = None) -> str:
    """Run a program; its standard output. Raises Broken when it fails or takes too long."""
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe)
    try:
        told, trouble = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Broken(f"{command[0]} took longer than {limit_s:.0f} s") from None
    if process.returncode:
        raise Broken(
            f"{' '.join(command[:4])} ended with {process.returncode}: {trouble.decode(errors='replace')[-800:]}"
        )
    return told.decode()


async def told_by(module: str, *arguments: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Run one of our own modules in a process of its own; the JSON object that it prints."""
    told = await output_of(sys.executable, "-m", module, *arguments, limit_s=limit_s)
    return msgspec.json.decode(told, type=dict[str, Any])


def found(pattern: str, text: str) -> str:
    """Read one figure out of a program's output. Raises Broken."""
    match = re.search(pattern, text)
    if match is None:
        raise Broken(f"no {pattern} in: {text[-500:]}")
    return match[1]


def milliseconds(text: str) -> float:
    """Read wrk's way of writing a duration. Raises Broken."""
    factors = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text)
    if match is None:
        raise Broken(f"not a duration: {text}")
    return float(match[1]) * factors[match[2]]
