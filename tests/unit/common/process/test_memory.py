"""What is freed goes back to the system."""

import subprocess
import sys

import pytest

from clusterodm.libs.common.process.memory import glibc

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


@pytest.mark.skipif(glibc() is None, reason="glibc only")
@pytest.mark.parametrize(
    "program", [pytest.param(PROGRAM, id="a short one"), pytest.param(HELD, id="one that was long held")]
)
def test_memory_goes_back_after_a_burst(program: str):
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert ran.returncode == 0, ran.stderr
