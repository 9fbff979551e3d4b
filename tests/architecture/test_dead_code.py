"""What nobody calls is found, and what is let be (pyproject.toml, [tool.vulture]) is still there."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

from vulture import Vulture

REPOSITORY = Path(__file__).parents[2]
CONFIGURATION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["vulture"]


def test_whatever_is_let_be_is_called_by_nobody():
    found = Vulture(ignore_decorators=CONFIGURATION["ignore_decorators"])
    found.scavenge([REPOSITORY / path for path in CONFIGURATION["paths"]], exclude=CONFIGURATION["exclude"])
    unused = {item.name for item in found.get_unused_code()}
    allowed = CONFIGURATION["ignore_names"]
    assert [name for name in allowed if not any(fnmatch(each, name) for each in unused)] == [], (
        "take these off the list"
    )
    assert {each for each in unused if not any(fnmatch(each, name) for name in allowed)} == set()
