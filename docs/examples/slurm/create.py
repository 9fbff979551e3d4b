#!/usr/bin/env python3
"""Create a machine: submit a job that runs NodeODM.

`size` names an entry of sizes.json beside this file: the flags of sbatch for it (partition, memory, time).
"""

import json
import os
from pathlib import Path

from slurm import FOLDER, answer, asked, call, fail

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Submit the job."""
    order = asked()
    flags = json.loads((HERE / "sizes.json").read_text()).get(order["size"])
    if flags is None:
        fail("refused", f"sizes.json has no size {order['size']!r}")
    folder = FOLDER / order["name"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(folder / "node.json", json.dumps(order["node_configuration"]))
    write(folder / "lease-url", order["lease"]["url"])
    image = order["image"] if order["image"].endswith(".sif") else f"docker://{order['image']}"
    words = ["sbatch", "--parsable", f"--job-name={order['name']}", f"--output={folder}/job.log", *flags]
    words += ["--gpus=1"] if order["gpu"] else []
    script = [str(HERE / "nodeodm.sbatch"), str(folder), image, str(order["lease"]["seconds"])]
    number = call(*words, *script, usual="unknown-outcome").strip().partition(";")[0]
    answer({"ref": number, "running": False})


def write(file: Path, text: str) -> None:
    """Write a file that only we can read: it holds secrets, which are therefore no words of any command."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


if __name__ == "__main__":
    main()
