"""sbatch, squeue, scancel and apptainer for tests: what they are called, and each flag, as the real ones have it.

    fake_slurm.install(folder)       # folder/bin/sbatch, ...; put it first in PATH

A job is a process of this computer. `apptainer run` starts a simulated node with what NodeODM's configuration file says.
A file `folder/refuse` makes sbatch fail with its content; `folder/pending` makes it keep jobs waiting.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("sbatch", "squeue", "scancel", "apptainer")
REPOSITORY = Path(__file__).parents[2]


def install(folder: Path) -> Path:
    """Write the programs; the directory to put into PATH."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    for name in PROGRAMS:
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        program.chmod(0o755)
    return bin_folder


def jobs(folder: Path) -> list[dict]:
    """List the jobs that have not ended."""
    known = [json.loads(file.read_text()) for file in sorted(folder.glob("job-*.json"))]
    return [each for each in known if each["pid"] == 0 or is_alive(each["pid"])]


def is_alive(pid: int) -> bool:
    stat = Path("/proc", str(pid), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def sbatch(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="sbatch", allow_abbrev=False)
    parser.add_argument("--parsable", action="store_true")
    for flag in ("job-name", "output", "cpus-per-task", "mem", "time", "partition", "gpus"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    refuse = folder / "refuse"
    if refuse.exists():
        sys.stderr.write(refuse.read_text())
        return 1
    number = 4711 + len(list(folder.glob("job-*.json")))
    pid = 0 if (folder / "pending").exists() else started(given)
    job = {"name": given.job_name, "number": number, "pid": pid, "words": words}
    (folder / f"job-{number}.json").write_text(json.dumps(job))
    sys.stdout.write(f"{number}\n" if given.parsable else f"Submitted batch job {number}\n")
    return 0


def started(given: argparse.Namespace) -> int:
    with Path(given.output).open("w") as output:
        return subprocess.Popen(
            ["bash", given.script, *given.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ).pid


def squeue(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="squeue", allow_abbrev=False)
    parser.add_argument("--me", action="store_true", required=True)
    parser.add_argument("--noheader", action="store_true", required=True)
    parser.add_argument("--format", required=True)
    given = parser.parse_args(words)
    for job in jobs(folder):
        state = "RUNNING" if job["pid"] else "PENDING"
        filled = given.format.replace("%j", job["name"]).replace("%i", str(job["number"])).replace("%T", state)
        sys.stdout.write(f"{filled}\n")
    return 0


def scancel(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scancel", allow_abbrev=False)
    parser.add_argument("--me", action="store_true", required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args(words)
    for job in jobs(folder):
        if job["name"] == given.name and job["pid"]:
            os.killpg(job["pid"], signal.SIGTERM)
        elif job["name"] == given.name:
            (folder / f"job-{job['number']}.json").unlink()
    return 0


def apptainer(folder: Path, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="apptainer", allow_abbrev=False)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--writable-tmpfs", action="store_true")
    parser.add_argument("--pwd")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    bound = {inside: outside for outside, _, inside in (each.partition(":") for each in given.bind)}
    node = dict(zip(given.arguments[::2], given.arguments[1::2], strict=True))
    configuration = json.loads(Path(bound[node["--config"]]).read_text())
    (folder / "images").write_text(given.image)
    flags = [f"--port={node['--port']}", f"--token={configuration['token']}"]
    os.chdir(REPOSITORY)
    os.execv(sys.executable, [sys.executable, "-m", "clusterodm.libs.nodesim", "--host=127.0.0.1", *flags])  # noqa: S606
    return 1


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:]))
