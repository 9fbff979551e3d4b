#!/usr/bin/env python3
"""List the machines whose name begins with `prefix`: our jobs of such names, and where their nodes listen."""

from pbs import RUNNING, address, answer, asked, jobs


def main() -> None:
    """Ask PBS."""
    prefix = asked()["prefix"]
    machines = []
    for name, number, state in jobs():
        if name.startswith(prefix):
            host, port = address(name)
            running = state == RUNNING and bool(host)
            machines.append({"name": name, "ref": number, "address": host, "port": port, "running": running})
    answer({"machines": machines})


if __name__ == "__main__":
    main()
