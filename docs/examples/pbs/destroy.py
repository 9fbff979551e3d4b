#!/usr/bin/env python3
"""Destroy a machine: delete all jobs of its name, wait until PBS has none, and delete its files."""

import shutil
import time

from pbs import FOLDER, answer, asked, call, fail, jobs

WAIT_S = 120


def main() -> None:
    """Delete, and wait for PBS to confirm."""
    name = asked()["name"]
    deadline_s = time.monotonic() + WAIT_S
    told: set[str] = set()
    while left := [number for job, number, _ in jobs() if job == name]:
        if time.monotonic() > deadline_s:
            fail("retryable", f"PBS still has {', '.join(left)} ({name}) after {WAIT_S} s")
        if new := [number for number in left if number not in told]:
            call("qdel", *new, missing_ok=True)
            told.update(new)
        time.sleep(1)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    answer({})


if __name__ == "__main__":
    main()
