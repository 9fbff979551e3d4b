"""A configuration of the autoscaler with a provider that has no machines."""

import json
import sys
from pathlib import Path

LISTS_NOTHING = "import sys\nsys.stdin.read()\nprint('{\"machines\": []}')\n"


def machines_file(folder: Path) -> Path:
    """Write a configuration of machines of which there are none."""
    program = folder / "machines.py"
    program.write_text(LISTS_NOTHING)
    words = [sys.executable, str(program)]
    asr = {
        "provider": "command",
        "create": words,
        "list": words,
        "destroy": words,
        "keepResults": 60,
        "maxDailyCost": 20,
    }
    asr["imageSizeMapping"] = [{"maxImages": 50, "slug": "any", "pricePerHour": 1.5}]  # type: ignore[assignment]
    (folder / "asr.json").write_text(json.dumps(asr))
    return folder / "asr.json"
