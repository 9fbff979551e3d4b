#!/usr/bin/env python3
"""Create a machine: submit a job that runs NodeODM.

`size` names an entry of sizes.json beside this file: the flags of qsub for it (queue, processors, memory, time).
"""

import json
import os
from pathlib import Path

from pbs import FOLDER, answer, asked, call, fail

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Submit the job. What it needs lies in its folder: qsub hands a script no arguments, and shows its variables to everybody."""
    order = asked()
    flags = json.loads((HERE / "sizes.json").read_text()).get(order["size"])
    if flags is None:
        fail("refused", f"sizes.json has no size {order['size']!r}")
    folder = FOLDER / order["name"]
    if set(str(folder)) & set(",\"'\\ \t"):
        fail("refused", f"{folder}: a path with a comma, a quote or a space is nothing for qsub -v")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = order["image"] if order["image"].endswith(".sif") else f"docker://{order['image']}"
    files = {
        "node.json": json.dumps(order["node_configuration"]),
        "lease-url": order["lease"]["url"],
        "lease-seconds": str(order["lease"]["seconds"]),
        "image": image,
        "apptainer-flags": "--nv" if order["gpu"] else "",
    }
    for name, text in files.items():
        write(folder / name, text)
    words = ["qsub", "-N", order["name"], "-r", "n", "-j", "oe", "-o", "/dev/null", "-v", f"CLUSTERODM_JOB={folder}"]
    number = call(*words, *flags, str(HERE / "nodeodm.pbs"), usual="unknown-outcome").strip()
    answer({"ref": number, "running": False})


def write(file: Path, text: str) -> None:
    """Write a file that only we can read: some hold secrets, which are therefore no words of any command."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


if __name__ == "__main__":
    main()
