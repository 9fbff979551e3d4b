#!/usr/bin/env python3
"""Destroy a machine: cancel all jobs of its name, wait until SLURM has none, and delete its files."""

import shutil
import time

from slurm import FOLDER, answer, asked, call, fail, jobs

WAIT_S = 120


def main() -> None:
    """Cancel, and wait for SLURM to confirm."""
    name = asked()["name"]
    deadline_s = time.monotonic() + WAIT_S
    while any(job == name for job, _, _ in jobs()):
        if time.monotonic() > deadline_s:
            fail("retryable", f"SLURM still has a job {name} after {WAIT_S} s")
        call("scancel", "--me", f"--name={name}")
        time.sleep(1)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    answer({})


if __name__ == "__main__":
    main()
