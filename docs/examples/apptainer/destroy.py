#!/usr/bin/env python3
"""Destroy a machine: stop the instance of its name, wait until Apptainer has none, and delete its files."""

import shutil
import time

from instances import FOLDER, answer, asked, fail, instances, stop

WAIT_S = 60


def main() -> None:
    """Stop, and wait for Apptainer to confirm."""
    name = asked()["name"]
    deadline_s = time.monotonic() + WAIT_S
    while name in instances():
        if time.monotonic() > deadline_s:
            fail("retryable", f"apptainer still has the instance {name} after {WAIT_S} s")
        stop(name)
        time.sleep(0.2)
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    answer({})


if __name__ == "__main__":
    main()
