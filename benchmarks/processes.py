"""CPU time and memory of process trees, from /proc (Linux; proc(5))."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
KIB = 1024


def tree(pid: int) -> list[int]:
    """List a process and all that descend from it."""
    parents = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (fields := stat(int(folder.name))):
            parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def stat(pid: int) -> list[str]:
    """Read the fields of /proc/<pid>/stat behind the name; empty when the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these have used so far: user and system, with the children that have ended and were waited for."""
    used = (stat(pid) for pid in pids)
    return sum(sum(map(int, fields[11:15])) for fields in used if fields) / TICKS_PER_S


def figure(pid: int, file: str, name: str) -> int:
    """Read one line of /proc/<pid>/status or smaps_rollup, in bytes; 0 when it is not there."""
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(f"{name}:")), 0)


def peak_bytes(pids: Iterable[int]) -> int:
    """Largest resident size that any of these has had since `forget_peaks` (VmHWM)."""
    return max(figure(pid, "status", "VmHWM") for pid in pids)


def forget_peaks(pids: Iterable[int]) -> None:
    """Begin to look for the largest resident size anew (clear_refs of proc(5))."""
    for pid in pids:
        (PROC / str(pid) / "clear_refs").write_text("5")


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory in use, what is shared with others counted in full for each."""
    return sum(figure(pid, "status", "VmRSS") for pid in pids)


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory in use, what is shared divided among those who share it: what ending them would give back."""
    return sum(figure(pid, "smaps_rollup", "Pss") for pid in pids)
