"""`apptainer instance run|list|stop` for tests: each flag, words and exit codes as Apptainer 1.3 has them.

    fake_apptainer.install(folder)       # folder/bin/apptainer; put it first in PATH

An instance is a process of this computer that runs a simulated node with what NodeODM's configuration file says. It is the caller's in
nothing: its own session, output into files. A file `folder/refuse` makes `run` fail with its content, and `folder/half` makes it fail like
that although the instance is there; `folder/deaf` makes the next `stop` do nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FATAL = 255


def install(folder: Path) -> Path:
    """Write the program; the directory to put into PATH."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    program = bin_folder / "apptainer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {folder} "$@"\n')
    program.chmod(0o755)
    return bin_folder


def instances(folder: Path) -> list[dict]:
    """List the instances that live."""
    known = [json.loads(file.read_text()) for file in sorted(folder.glob("*.instance"))]
    return [each for each in known if is_alive(each["pid"])]


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    stat = Path("/proc", str(pid), "stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def run(folder: Path, words: list[str]) -> int:
    """Run an instance."""
    parser = argparse.ArgumentParser(prog="apptainer instance run", allow_abbrev=False)
    parser.add_argument("--writable-tmpfs", action="store_true")
    parser.add_argument("--nv", action="store_true")
    for flag in ("pwd", "cpus", "memory"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("name")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    if any(each["name"] == given.name for each in instances(folder)):
        return fatal(f"instance {given.name} already exists")
    if (folder / "refuse").exists():
        return fatal((folder / "refuse").read_text())
    if given.image.startswith("/") and not Path(given.image).exists():
        return fatal(
            f"While checking container encryption: could not open image {given.image}: failed to retrieve path for"
            f" {given.image}: lstat {given.image}: no such file or directory"
        )
    bound = {inside: outside for outside, _, inside in (each.partition(":") for each in given.bind)}
    node = dict(zip(given.arguments[::2], given.arguments[1::2], strict=True))
    configuration = json.loads(Path(bound[node["--config"]]).read_text())
    flags = [f"--port={node['--port']}", f"--token={configuration['token']}", "--host=127.0.0.1"]
    with (folder / f"{given.name}.out").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "clusterodm.libs.nodesim", *flags],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    known = {"name": given.name, "pid": process.pid, "img": given.image, "words": words}
    (folder / f"{given.name}.instance").write_text(json.dumps(known))
    if (folder / "half").exists():
        return fatal((folder / "half").read_text())
    sys.stderr.write("INFO:    instance started successfully\n")
    return 0


def fatal(sentence: str) -> int:
    """Say what went wrong, as Apptainer does."""
    sys.stderr.write(f"INFO:    Converting SIF file to temporary sandbox...\nFATAL:   {sentence}\n")
    return FATAL


def listed(folder: Path, words: list[str]) -> int:
    """List instances."""
    parser = argparse.ArgumentParser(prog="apptainer instance list", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", required=True)
    parser.parse_args(words)
    names = ("instance", "pid", "img", "ip", "logErrPath", "logOutPath")
    shown = [
        dict(zip(names, (each["name"], each["pid"], each["img"], "", "", ""), strict=True))
        for each in instances(folder)
    ]
    sys.stdout.write(json.dumps({"instances": shown}, indent="\t") + "\n")
    return 0


def stop(folder: Path, words: list[str]) -> int:
    """Stop an instance."""
    parser = argparse.ArgumentParser(prog="apptainer instance stop", allow_abbrev=False)
    parser.add_argument("name")
    name = parser.parse_args(words).name
    found = [each for each in instances(folder) if each["name"] == name]
    if not found:
        return fatal("no instance found")
    (one,) = found
    if (folder / "deaf").exists():
        (folder / "deaf").unlink()
        return 0
    sys.stderr.write(f"INFO:    Stopping {name} instance of {one['img']} (PID={one['pid']})\n")
    os.killpg(one["pid"], signal.SIGKILL)
    (folder / f"{name}.instance").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    where, group, verb = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    assert group == "instance"
    sys.exit({"run": run, "list": listed, "stop": stop}[verb](where, sys.argv[4:]))
