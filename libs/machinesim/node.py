"""Starts a simulated node with settings from a file: they hold secrets, and command lines are for all to see."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from clusterodm.libs.nodesim.main import main as node
from clusterodm.libs.nodesim.settings import flags


def main(words: Sequence[str] | None = None) -> int:
    """Read the file and run the node; the exit code."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m clusterodm.libs.machinesim.node", description=__doc__
    )
    parser.add_argument("settings", type=Path, help="JSON object with the settings of clusterodm.libs.nodesim")
    path: Path = parser.parse_args(words).settings
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {path} cannot be read: {error}\n")
    return node(flags(settings))


if __name__ == "__main__":
    raise SystemExit(main())
