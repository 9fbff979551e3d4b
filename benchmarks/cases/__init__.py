"""The paths that are measured, in the order in which they run; each says in one sentence what its figures mean."""

from typing import Any

from benchmarks.cases.case import Case
from benchmarks.cases.downloads import Downloads8, DownloadsOne, DownloadsRanges
from benchmarks.cases.footprint import IdleCluster, ProxyMemory, StartUp
from benchmarks.cases.forwarding import Forwarding, HandOver
from benchmarks.cases.history import History, LostComputer, RemovedTasks
from benchmarks.cases.mixed import InfoUnderLoad
from benchmarks.cases.pages import Pages
from benchmarks.cases.queue import RunningTasks, SmallTasks, StartedTasks
from benchmarks.cases.requests import Info, TaskInfo, TaskInfoNewConnections, TaskInfos
from benchmarks.cases.scheduling import Commits, CorePlacements, CoreQueue, IdleNodes, Placements, SchedulerStart
from benchmarks.cases.uploads import SmallFiles, SmallParts, Uploads
from benchmarks.cases.words import Words

CASES: tuple[type[Case[Any]], ...] = (
    Info,
    TaskInfo,
    TaskInfos,
    TaskInfoNewConnections,
    DownloadsOne,
    Downloads8,
    DownloadsRanges,
    Uploads,
    SmallFiles,
    SmallParts,
    Forwarding,
    InfoUnderLoad,
    ProxyMemory,
    HandOver,
    StartUp,
    IdleCluster,
    CorePlacements,
    CoreQueue,
    SchedulerStart,
    History,
    LostComputer,
    RemovedTasks,
    Pages,
    Words,
    RunningTasks,
    SmallTasks,
    StartedTasks,
    IdleNodes,
    Placements,
    Commits,
)


def named(only: str) -> list[type[Case[Any]]]:
    """Find the cases of a name, or whose name begins so (`downloads`); all for no name."""
    exact = [case for case in CASES if case.name == only]
    return exact or [case for case in CASES if case.name.startswith(only)]


__all__ = ["CASES", "Case", "named"]
