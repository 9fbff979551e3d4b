"""Run the benchmarks: `python -m benchmarks [NAME] [--rounds N] [--write FILE]`.

All subjects are measured in turn, round by round; the median counts. `--write` replaces the table between the markers of
a Markdown file.
"""

import argparse
import asyncio
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.cases import CASES, Case, Round
from benchmarks.subjects import Subject, cluster, nginx
from libs.nodesim.testing import NodeSimProcess
from tests.datasets import make_images
from tests.waiting import until

RESULT_SIZE_MB = 256
RUNNING, COMPLETED = 20, 40
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


async def started_task(subject: Subject, folder: Path, code: int) -> str:
    """Send a small dataset and wait until its task has a status code (20: runs, 40: completed); its id."""
    async with httpx.AsyncClient(base_url=subject.url, trust_env=False, timeout=60) as http:
        images = make_images(folder / "small", 3)
        files = [("images", (path.name, path.read_bytes())) for path in images]
        task: str = (await http.post("/task/new", files=files, data={"name": "bench"})).json()["uuid"]

        async def reached() -> bool:
            return bool((await http.get(f"/task/{task}/info")).json()["status"]["code"] == code)

        await until(reached, timeout_s=120, step_s=0.2)
    return task


async def run(case: Case, subjects: Sequence[Subject], task: str, folder: Path, rounds: int) -> dict[str, list[Round]]:
    """Measure all subjects in turn, `rounds` times; the first round warms up and does not count."""
    measured: dict[str, list[Round]] = {subject.name: [] for subject in subjects}
    await case.prepare(subjects[0], task, folder)
    for number in range(rounds + 1):
        for subject in subjects:
            result = await case.measure(subject, task)
            if number:
                measured[subject.name].append(result)
    return measured


def rows(case: Case, measured: dict[str, list[Round]]) -> list[str]:
    """Make the table's rows: the median of each figure, and the ratio to nginx."""
    median = {name: statistics.median(round_.cost for round_ in rounds) for name, rounds in measured.items()}
    lines = []
    for name, rounds in measured.items():
        rate = statistics.median(round_.rate for round_ in rounds)
        slowest = [round_.p99_ms for round_ in rounds if round_.p99_ms is not None]
        p99 = f"{statistics.median(slowest):.1f}" if slowest else ""
        ratio = f"{median[name] / median['nginx']:.2f}" if median["nginx"] else ""
        lines.append(
            f"| {case.name} | {name} | {median[name]:.2f} {case.cost_unit} | {ratio} | {rate:,.0f} {case.rate_unit} | {p99} |"
        )
    return lines


async def main(only: str, rounds: int) -> str:
    """Run what was asked for; the report as Markdown."""
    cases = [case() for case in CASES if only in ("", case.name)]
    if not cases:
        raise SystemExit(f"no benchmark {only!r}; there are: {', '.join(case.name for case in CASES)}")
    table = ["| path | subject | cost | ÷ nginx | rate | p99 ms |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with (
            NodeSimProcess(task_time_s=0.1, result_size_mb=RESULT_SIZE_MB, download_ranges=True, event_log="") as node,
            cluster(folder / "cluster", node) as (ours, _running),
        ):
            finished = await started_task(ours, folder, COMPLETED)
            node.set(task_time_s=3600)
            running = await started_task(ours, folder, RUNNING)
            with nginx(folder / "nginx", node.port) as peer:
                for case in cases:
                    print(f"{case.name}: {case.sentence}", file=sys.stderr)
                    table += rows(
                        case,
                        await run(case, (ours, peer), running if case.of_running_task else finished, folder, rounds),
                    )
            memory = ours.peak_bytes()
    notes = [f"* **{case.name}**: {case.sentence}" for case in cases]
    machine = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        [
            *table,
            "",
            *notes,
            "",
            f"Proxy at its largest: {memory / 1e6:.0f} MB. Medians of {rounds} rounds, subjects in turn; {machine}.",
        ]
    )


def write(path: Path, report: str) -> None:
    """Replace what stands between the markers of a file."""
    head, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n{report}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description="Measure side by side with nginx.")
    parser.add_argument("only", nargs="?", default="", help="one benchmark by name")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each subject")
    parser.add_argument("--write", type=Path, help="Markdown file whose table is replaced")
    asked = parser.parse_args()
    began_s = time.monotonic()
    told = asyncio.run(main(asked.only, asked.rounds))
    print(told)
    print(f"took {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    if asked.write:
        write(asked.write, told)
