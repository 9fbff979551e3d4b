"""What is freed goes back to the system."""

import subprocess
import sys

import pytest

from clusterodm.libs.common.process.memory import MUCH_BYTES, HeapFigures, glibc, is_worth_it

PROGRAM = """
import asyncio, gc
from clusterodm.libs.common.process.memory import MUCH_BYTES, Trimmer, resident_bytes, settle

settle()
assert gc.get_freeze_count() > 1000, "what is imported is looked at no more"
trimmer = Trimmer()
asyncio.run(trimmer.trim())
before = resident_bytes()
pieces = [b"x" * (60_000 + number) for number in range(1000)]
kept = pieces[::100]
grown = resident_bytes()
del pieces
asyncio.run(trimmer.trim())
after = resident_bytes()
assert grown > before + 50_000_000, (before, grown)
assert after < before + MUCH_BYTES, (before, grown, after)
"""

HELD = """
import asyncio
from clusterodm.libs.common.process.memory import MUCH_BYTES, Trimmer, resident_bytes, settle

settle()
trimmer = Trimmer()
asyncio.run(trimmer.trim())
before = resident_bytes()
pieces = [b"x" * (60_000 + number) for number in range(1000)]
kept = pieces[::100]
for _ in range(3):
    asyncio.run(trimmer.trim())
grown = resident_bytes()
del pieces
asyncio.run(trimmer.trim())
after = resident_bytes()
assert grown > before + 50_000_000, (before, grown)
assert after < before + MUCH_BYTES, (before, grown, after)
"""


HIDDEN = """
import asyncio
from clusterodm.libs.common.process.memory import MUCH_BYTES, Trimmer, resident_bytes, settle

settle()
trimmer = Trimmer()
asyncio.run(trimmer.trim())
before = resident_bytes()
pieces = [b"x" * (60_000 + number) for number in range(800)]
kept = pieces[::100]
objects = [bytes(400) for _ in range(140_000)]
for _ in range(3):
    asyncio.run(trimmer.trim())
grown = resident_bytes()
del pieces, objects
asyncio.run(trimmer.trim())
after = resident_bytes()
assert grown > before + 90_000_000, (before, grown)
assert after < before + 2 * MUCH_BYTES, (before, grown, after)
"""
"""What Python's own allocator gives back at the same moment is as much as what malloc keeps."""


@pytest.mark.skipif(glibc() is None, reason="glibc only")
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(PROGRAM, id="a short one"),
        pytest.param(HELD, id="one that was long held"),
        pytest.param(HIDDEN, id="one that is hidden"),
    ],
)
def test_memory_goes_back_after_a_burst(program: str):
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 0, ran.stderr


MIB = 1 << 20


@pytest.mark.parametrize(
    ("resident", "used", "free", "worth"),
    [
        pytest.param(60, 20, 10, False, id="as it was"),
        pytest.param(110, 70, 10, False, id="more is in use"),
        pytest.param(110, 20, 60, True, id="a burst was freed"),
        pytest.param(60, 20, 60, True, id="a burst was freed, and as much by Python's own allocator"),
        pytest.param(60, 20, 14, False, id="little was freed"),
        pytest.param(110, 20, 10, True, id="what had been given back is resident again"),
        pytest.param(110, 20, 4, False, id="Python's own allocator has grown, and malloc has nothing to give back"),
        pytest.param(30, 25, 8, False, id="less of everything"),
    ],
)
def test_a_trim_is_made_where_it_gives_back_much(resident: int, used: int, free: int, worth: bool):
    """After the last one 60 MiB were resident, 20 in use, and 10 free."""
    now = HeapFigures(resident * MIB, used * MIB, free * MIB)
    assert is_worth_it(now, free_bytes=10 * MIB, beside_bytes=40 * MIB) is worth


def test_the_first_trim_gives_back_what_starting_up_has_freed():
    assert is_worth_it(HeapFigures(60 * MIB, 20 * MIB, 2 * MUCH_BYTES), free_bytes=0, beside_bytes=0)
