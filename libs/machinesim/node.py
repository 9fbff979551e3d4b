"""Starts a simulated node with settings from a file: they hold secrets, and command lines are for all to see."""

import json
import sys
from pathlib import Path

from libs.nodesim.main import main
from libs.nodesim.settings import flags

if __name__ == "__main__":
    raise SystemExit(main(flags(json.loads(Path(sys.argv[1]).read_text()))))
