"""What is to be reached, and what is: one row per aim, read from the figures. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import Measured, table

Results = Mapping[str, Measured]
Read = Callable[[Results], float | None]


@dataclass(frozen=True)
class Target:
    """One aim."""

    path: str
    against: str
    aim: float
    read: Read
    unit: str = "×"
    at_least: bool = False
    """The figure must not be smaller; otherwise it must not be larger."""
    digits: int = 2

    def met(self, figure: float) -> bool:
        """Whether a figure reaches the aim."""
        return figure >= self.aim if self.at_least else figure <= self.aim

    @property
    def shown(self) -> str:
        """Write the aim."""
        return f"{'≥' if self.at_least else '≤'} {self.aim:g} {self.unit}"


def ratio(case: str, peer: str, metric: str = "") -> Read:
    """Read how ours compares to a peer."""
    return lambda results: results[case].ratio(peer, metric) if case in results else None


def own(case: str, metric: str) -> Read:
    """Read a figure of ours."""

    def read(results: Results) -> float | None:
        measured = results.get(case)
        return measured.medians[next(iter(measured.does))].get(metric) if measured and measured.medians else None

    return read


def hidden(results: Results) -> float | None:
    """Read which part of the transfer is still to be waited for after the commit."""
    waited, whole = own("hand-over", "commit to running")(results), own("hand-over", "size ÷ link speed")(results)
    return waited / whole if waited is not None and whole else None


def dearest(case: str, metric: str) -> Read:
    """Read a figure of ours, the largest of all ways in which it was measured."""

    def read(results: Results) -> float | None:
        measured = results.get(case)
        return max((each[metric] for each in measured.medians.values()), default=None) if measured else None

    return read


def worst(case: str) -> Read:
    """Read the largest of all metrics of ours."""

    def read(results: Results) -> float | None:
        measured = results.get(case)
        return max(measured.medians[next(iter(measured.does))].values()) if measured and measured.medians else None

    return read


PER_CPU_S = "requests per CPU s"
DURABLE = "Node.js, durable"
"""busboy with the promise of ours: a file and its name are on the disk before the answer."""


def cost_of_history(metric: str) -> Read:
    """Read what a past costs: with it, less the same without."""

    def read(results: Results) -> float | None:
        measured = results.get("history")
        if measured is None or len(measured.does) < 2:
            return None
        past, none = (measured.medians.get(name) for name in list(measured.does)[:2])
        return past[metric] - none[metric] if past and none else None

    return read


TARGETS = (
    Target(
        "poll, kept connections",
        "Node.js, requests per CPU s",
        5,
        ratio("task-info", "Node.js", PER_CPU_S),
        at_least=True,
    ),
    Target("poll, kept connections", "nginx, CPU", 3, ratio("task-info", "nginx")),
    Target(
        "poll, 64 different tasks",
        "Node.js, requests per CPU s",
        5,
        ratio("task-info-64-tasks", "Node.js", PER_CPU_S),
        at_least=True,
    ),
    Target("poll, 64 different tasks", "nginx, CPU", 1.5, ratio("task-info-64-tasks", "nginx")),
    Target(
        "poll, new connections",
        "Node.js, requests per CPU s",
        5,
        ratio("task-info-new-connections", "Node.js", PER_CPU_S),
        at_least=True,
    ),
    Target("poll, new connections", "nginx, CPU", 2, ratio("task-info-new-connections", "nginx")),
    Target("/info", "Node.js, CPU", 1.3, ratio("info", "Node.js")),
    Target("download, 1 connection", "Node.js, CPU", 0.25, ratio("downloads-1", "Node.js")),
    Target("download, 1 connection", "nginx default, CPU", 1, ratio("downloads-1", "nginx")),
    Target("download, 8 connections", "Node.js, CPU", 0.25, ratio("downloads-8", "Node.js")),
    Target("download, 8 connections", "nginx default, CPU", 1, ratio("downloads-8", "nginx")),
    Target("download, 16 ranges", "Node.js, CPU", 0.25, ratio("downloads-16-ranges", "Node.js")),
    Target("download, 16 ranges", "nginx default, CPU", 1, ratio("downloads-16-ranges", "nginx")),
    Target("upload, parsed and stored", "busboy, CPU", 0.6, ratio("uploads", "Node.js")),
    Target("upload, parsed and stored", "nginx storing, CPU", 2, ratio("uploads", "nginx")),
    Target("small file, one per request", "busboy, CPU", 1, ratio("uploads-small-files", "Node.js")),
    Target("small file, one per request", "busboy that syncs, CPU", 1, ratio("uploads-small-files", DURABLE)),
    Target("small file, 250 per request", "busboy, CPU", 0.5, ratio("uploads-small-parts", "Node.js")),
    Target("small file, 250 per request", "busboy that syncs, CPU", 0.5, ratio("uploads-small-parts", DURABLE)),
    Target("forward to node", "node-libcurl, CPU", 0.6, ratio("forwarding", "node-libcurl")),
    Target("proxy's memory at its largest", "", 80, worst("proxy-memory"), "MB", digits=0),
    Target("answer to a commit, p99", "1,000 nodes, one hung", 20, own("commits", "p99"), "ms", digits=1),
    Target(
        "answer to a commit, 64 at once, p99", "1,000 nodes, one hung", 20, own("commits", "p99 of 64"), "ms", digits=1
    ),
    Target("a small task until it runs", "all services, CPU", 5, dearest("started-tasks", "CPU"), "ms", digits=1),
    Target("transfer left after the commit", "size ÷ link speed", 0.1, hidden),
    Target(
        "placements, decisions alone", "1,000 nodes", 500, own("core-placements", "rate"), "/s", at_least=True, digits=0
    ),
    Target("placements, over the bus", "1,000 nodes", 500, own("placements", "placed"), "/s", at_least=True, digits=0),
    Target("idle cost of 1,000 nodes", "all of `up`", 4, own("idle-cluster", "all"), "% of a core", digits=1),
    Target(
        "published by 1,000 running tasks",
        "a tenth of what it was",
        865,
        own("running-tasks", "published"),
        "KB/s",
        digits=0,
    ),
    Target("small task, 50,000 waiting", "10 waiting, CPU", 1.3, ratio("small-tasks", "10 waiting")),
    Target("small task, 50,000 waiting", "10 waiting, p99", 1.3, ratio("small-tasks", "10 waiting", "p99")),
    Target("start until healthy", "100,000 ended", 3, own("history", "healthy"), "s"),
    Target("memory of 100,000 ended tasks, a proxy", "", 30, cost_of_history("proxy"), "MB", digits=0),
    Target("memory of 100,000 ended tasks, the scheduler", "", 100, cost_of_history("scheduler"), "MB", digits=0),
    Target("store per ended task", "without console", 3, own("history", "store per ended task"), "KB"),
    Target("store per removed task", "after its time to live", 0, own("removed-tasks", "left for ever"), "B", digits=0),
    Target("commit at the leader's death", "100,000 ended", 3, own("history", "commit at the kill"), "s"),
    Target("placement after the leader's death", "100,000 ended", 3, own("history", "placed after it"), "s"),
    Target(
        "commit when the leader's computer is lost",
        "lease (5 s) + 3 s",
        8,
        own("lost-computer", "commit at that moment"),
        "s",
    ),
    Target(
        "placement after the leader's computer is lost",
        "lease (5 s) + 3 s",
        8,
        own("lost-computer", "placed after it"),
        "s",
    ),
    Target("`clusterodm up` answers", "", 1, own("start-up", "first answer"), "s"),
    Target("all services idle", "", 150, own("start-up", "memory"), "MB", digits=0),
    Target("makespan", "offline optimum or bound", 1.05, own("makespan", "makespan ÷ optimum")),
)


def targets_table(results: Results, *, whole: bool = True) -> list[str]:
    """Write the aims with our figures beside them. `whole`: those that were not measured too."""
    rows = []
    for target in TARGETS:
        figure = target.read(results)
        if figure is None and not whole:
            continue
        shown = "not measured" if figure is None else f"{figure:,.{target.digits}f} {target.unit}"
        outcome = "" if figure is None else "reached" if target.met(figure) else "**missed**"
        rows.append([target.path, target.against, target.shown, shown, outcome])
    return table(["path", "against", "aim", "measured", ""], rows)
