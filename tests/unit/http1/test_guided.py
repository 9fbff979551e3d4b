"""Both roles under bytes that are guided by what the code does with them (atheris), for a moment; `make fuzz` does it for longer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
RUNS_COUNT = 2_000
PATIENT_S = 240


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this computer")
@pytest.mark.parametrize("role", ["server", "client"])
def test_no_bytes_break_what_holds_for_any(role: str, tmp_path: Path) -> None:
    words = [f"-runs={RUNS_COUNT}", "-max_len=4096", f"-artifact_prefix={tmp_path}/", str(tmp_path)]
    played = subprocess.run(
        [sys.executable, REPOSITORY / "tests/fuzz/run.py", role, *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )

    assert played.returncode == 0, played.stderr[-2000:]
    assert f"Done {RUNS_COUNT} runs" in played.stderr


def test_what_would_break_is_found(tmp_path: Path) -> None:
    """An input that breaks a property ends the program with an error, so that the test above can fail."""
    pytest.importorskip("atheris")
    broken = "from tests.fuzz import run\nrun.of_server = lambda pieces: len(pieces)\nrun.main()\n"
    words = ["server", "-runs=100", f"-artifact_prefix={tmp_path}/", str(tmp_path)]
    played = subprocess.run(
        [sys.executable, "-c", broken, *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENT_S,
        check=False,
    )

    assert played.returncode != 0
    assert "Test unit written to" in played.stderr
