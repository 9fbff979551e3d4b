"""A wall clock that a test can step while processes run: a small library (clock_shift.c), preloaded into them."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).with_name("clock_shift.c")
BYTES: Final = 8


class ShiftedClock:
    """The wall clock of some processes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._offset = folder / "offset"
        self._library = folder / "clock_shift.so"
        self.step_to(0)
        self._compile()

    @property
    def environment(self) -> dict[str, str]:
        """What processes with this clock are started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_FILE": str(self._offset)}

    def step_to(self, seconds: int) -> None:
        """Let the clock be so many seconds ahead of the true one from now on."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(seconds.to_bytes(BYTES, "little", signed=True))

    def _compile(self) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip(
                "no C compiler (Debian: apt-get install gcc libc6-dev) to build the library that shifts the clock"
            )
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", self._library, SOURCE]
        subprocess.run(command, check=True, timeout=60)
