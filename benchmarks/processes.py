"""CPU time and memory of a process tree, from /proc (Linux; proc(5))."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


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


def cpu_s(pid: int) -> float:
    """CPU seconds that the tree has used so far: user and system, living processes only."""
    used = (stat(member) for member in tree(pid))
    return sum(int(fields[11]) + int(fields[12]) for fields in used if fields) / TICKS_PER_S


def peak_bytes(pid: int) -> int:
    """Largest resident size that any process of the tree has had (VmHWM)."""
    return max(high_water_bytes(member) for member in tree(pid))


def high_water_bytes(pid: int) -> int:
    """VmHWM of one process."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
