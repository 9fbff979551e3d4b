"""qsub, qselect, qstat and qdel for tests: what they are called, each flag, words and exit codes as OpenPBS has them.

    fake_pbs.install(folder)       # folder/bin/qsub, ...; put it first in PATH

A job is a process of this computer. It gets the environment of its host (`folder/host.json`) and what `-v` names, not that of qsub, and
lives in a copy of its script. A file `folder/refuse` makes qsub fail with its content; `folder/pending` keeps jobs waiting; `folder/away` makes
every program find no server; `folder/slow-end` keeps a job that is deleted in state E for one more look.
"""

import argparse
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("qsub", "qselect", "qstat", "qdel")
SERVER = "pbs01"
UNKNOWN_JOB = 15001 % 256
HISTORY_JOB = 15139 % 256
CONNECTION_REFUSED = 111
NAME = re.compile(r"[A-Za-z0-9+_.-][!-~]{0,235}")


def install(folder: Path, host: dict[str, str]) -> Path:
    """Write the programs; the directory to put into PATH. `host`: the environment of the execution hosts."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    for name in PROGRAMS:
        program = bin_folder / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {folder} {name} "$@"\n')
        program.chmod(0o755)
    (folder / "host.json").write_text(json.dumps(host))
    return bin_folder


def known(folder: Path) -> list[dict]:
    """List all jobs that were ever submitted."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("job-*.json"))]


def jobs(folder: Path) -> list[dict]:
    """List the jobs that have not ended."""
    return [each for each in known(folder) if not each["ended"] and (each["looks"] or is_alive(each["pid"]))]


def is_alive(pid: int) -> bool:
    """Whether a job runs or waits (0)."""
    stat = Path("/proc", str(pid), "stat")
    return pid == 0 or (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z")


def write(folder: Path, job: dict) -> None:
    """Remember a job."""
    (folder / f"job-{job['number']}.json").write_text(json.dumps(job))


def qsub(folder: Path, words: list[str]) -> int:
    """Submit a job."""
    parser = argparse.ArgumentParser(prog="qsub", allow_abbrev=False)
    for flag in ("-N", "-r", "-j", "-o", "-v", "-q"):
        parser.add_argument(flag, dest=flag[1:])
    parser.add_argument("-l", dest="l", action="append", default=[])
    parser.add_argument("script")
    given = parser.parse_args(words)
    if (folder / "refuse").exists():
        sys.stderr.write((folder / "refuse").read_text())
        return 1
    if not NAME.fullmatch(given.N):
        sys.stderr.write("qsub: illegal -N value\n")
        return 2
    if not Path(given.script).is_file():
        sys.stderr.write("qsub: script file:: No such file or directory\n")
        return 1
    number = 4711 + len(known(folder))
    script = folder / f"{number}.{SERVER}.SC"
    shutil.copy(given.script, script)
    variables = dict(each.split("=", 1) for each in given.v.split(","))
    pid = 0 if (folder / "pending").exists() else started(folder, script, variables)
    write(folder, {"name": given.N, "number": number, "pid": pid, "words": words, "ended": False, "looks": 0})
    sys.stdout.write(f"{number}.{SERVER}\n")
    return 0


def started(folder: Path, script: Path, variables: dict[str, str]) -> int:
    """Run a job."""
    host = json.loads((folder / "host.json").read_text())
    return subprocess.Popen(
        ["bash", script],
        env={"HOME": os.environ.get("HOME", "/"), **host, "PBS_JOBID": script.stem, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ).pid


def qselect(folder: Path, words: list[str]) -> int:
    """Name the jobs of a user that have not ended."""
    parser = argparse.ArgumentParser(prog="qselect", allow_abbrev=False)
    parser.add_argument("-u", dest="user", required=True)
    if parser.parse_args(words).user == getpass.getuser():
        sys.stdout.write("".join(f"{each['number']}.{SERVER}\n" for each in jobs(folder)))
    return 0


def qstat(folder: Path, words: list[str]) -> int:
    """Show jobs in full."""
    parser = argparse.ArgumentParser(prog="qstat", allow_abbrev=False)
    parser.add_argument("-f", dest="full", action="store_true", required=True)
    parser.add_argument("ids", nargs="+")
    here = {f"{each['number']}.{SERVER}": each for each in jobs(folder)}
    code = 0
    for number in parser.parse_args(words).ids:
        job = here.get(number)
        if job is None:
            code = missing(folder, "qstat", number)
            continue
        state = "E" if job["looks"] else "R" if job["pid"] else "Q"
        sys.stdout.write(
            f"Job Id: {number}\n    Job_Name = {job['name']}\n    Job_Owner = {getpass.getuser()}@login1\n    job_state = {state}\n"
            f"    Variable_List = PBS_O_HOME=/root,PBS_O_LANG=C.UTF-8,PBS_O_LOGNAME=root,\n\tPBS_O_PATH=/usr/bin:/bin\n\n"
        )
        if job["looks"]:
            write(folder, job | {"looks": job["looks"] - 1, "ended": job["looks"] == 1})
    return code


def missing(folder: Path, program: str, number: str) -> int:
    """Say that there is no such job, or none any more."""
    if any(f"{each['number']}.{SERVER}" == number for each in known(folder)) and program == "qstat":
        sys.stderr.write(f"qstat: {number} Job has finished, use -x or -H to obtain historical job information\n")
        return HISTORY_JOB
    words = "Job has finished" if any(f"{each['number']}.{SERVER}" == number for each in known(folder)) else ""
    sys.stderr.write(f"{program}: {words} {number}\n" if words else f"{program}: Unknown Job Id {number}\n")
    return HISTORY_JOB if words else UNKNOWN_JOB


def qdel(folder: Path, words: list[str]) -> int:
    """Delete jobs."""
    parser = argparse.ArgumentParser(prog="qdel", allow_abbrev=False)
    parser.add_argument("ids", nargs="+")
    here = {f"{each['number']}.{SERVER}": each for each in jobs(folder)}
    code = 0
    for number in parser.parse_args(words).ids:
        job = here.get(number)
        if job is None:
            code = missing(folder, "qdel", number)
        elif job["pid"] == 0:
            write(folder, job | {"ended": True})
        else:
            os.killpg(job["pid"], signal.SIGTERM)
            write(folder, job | {"looks": 1 if (folder / "slow-end").exists() else 0})
    return code


def main(folder: Path, program: str, words: list[str]) -> int:
    """Be one of the programs."""
    if (folder / "away").exists():
        sys.stderr.write(f"Connection refused\n{program}: cannot connect to server {SERVER} (errno=111)\n")
        return CONNECTION_REFUSED
    return {"qsub": qsub, "qselect": qselect, "qstat": qstat, "qdel": qdel}[program](folder, words)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
