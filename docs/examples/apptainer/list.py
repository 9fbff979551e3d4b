#!/usr/bin/env python3
"""List the machines whose name begins with `prefix`: our instances of such names, and where their nodes listen."""

from instances import address, answer, asked, instances


def main() -> None:
    """Ask Apptainer."""
    prefix = asked()["prefix"]
    machines = []
    for name, number in instances().items():
        if name.startswith(prefix):
            host, port = address(name)
            machines.append({"name": name, "ref": str(number), "address": host, "port": port, "running": bool(host)})
    answer({"machines": machines})


if __name__ == "__main__":
    main()
