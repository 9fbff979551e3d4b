#!/usr/bin/env python3
"""Create a machine: run a named instance of NodeODM's image on this computer.

`size` names an entry of sizes.json beside this file: flags of `apptainer instance run` for it (processors, memory).
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from instances import FOLDER, HOST, answer, asked, call, fail, instances, last_line, meaning

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 600
"""An image from a registry is fetched and unpacked first."""


def main() -> None:
    """Run it, and somebody who ends it when nobody wants it any more."""
    order = asked()
    name = order["name"]
    flags = json.loads((HERE / "sizes.json").read_text()).get(order["size"])
    if flags is None:
        fail("refused", f"sizes.json has no size {order['size']!r}")
    folder, port = FOLDER / name, free_port()
    for each in (folder, folder / "data", folder / "tmp"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(folder / "node.json", json.dumps(order["node_configuration"]))
    write(folder / "lease-url", order["lease"]["url"])
    write(folder / "address", f"{HOST} {port}\n")
    image = order["image"] if order["image"].endswith(".sif") else f"docker://{order['image']}"
    words = ["instance", "run", *flags, *(["--nv"] if order["gpu"] else []), "--writable-tmpfs", "--pwd", "/var/www"]
    binds = {"node.json": "/clusterodm/node.json", "data": "/var/www/data", "tmp": "/var/www/tmp"}
    words += [word for inside, outside in binds.items() for word in ("--bind", f"{folder / inside}:{outside}")]
    node = ["--config", "/clusterodm/node.json", "--port", str(port)]
    code, _, told = call(*words, image, name, *node, timeout_s=START_TIMEOUT_S)
    here = instances()
    if order["lease"]["seconds"] and name in here:
        watch(folder, name, order["lease"]["seconds"])
    if code:
        fail("unknown-outcome" if name in here else meaning(told), f"apptainer instance run: {last_line(told)}")
    answer({"ref": str(here.get(name, "")), "address": HOST, "port": port})


def free_port() -> int:
    """Find a port on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


def watch(folder: Path, name: str, lease_s: int) -> None:
    """Start the program that ends the machine; it outlives us, and holds nothing that whoever called us waits for."""
    with (folder / "lease.log").open("w") as log:
        subprocess.Popen(  # noqa: S603 - ours
            [sys.executable, str(HERE / "lease.py"), name, str(lease_s)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def write(file: Path, text: str) -> None:
    """Write a file that only we can read: some hold secrets, which are therefore no words of any command."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


if __name__ == "__main__":
    main()
