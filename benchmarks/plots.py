"""The drawings in docs/plots: bars of each currency, ours beside the peers. Needs matplotlib (dependency group `bench`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Measured

COLORS = {"clusterodm": "#d9480f", "nginx": "#2b8a3e", "nginx unbuffered": "#8ce99a", "HAProxy": "#1971c2"}
OTHERS = "#868e96"
PANELS = {
    "requests": ("info", "task-info", "task-info-64-tasks", "task-info-new-connections"),
    "downloads": ("downloads-1", "downloads-8", "downloads-16-ranges"),
    "uploads": ("uploads", "uploads-small-files", "uploads-small-parts"),
    "others": ("forwarding", "info-under-load", "proxy-memory"),
}
"""File -> cases side by side in it."""


def draw(results: Mapping[str, Measured], folder: Path) -> list[Path]:
    """Draw every file whose cases were measured."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, cases in PANELS.items():
        if measured := [results[case] for case in cases if case in results]:
            made.append(folder / f"{name}.svg")
            bars(measured, made[-1])
    return made


def bars(cases: Sequence[Measured], path: Path) -> None:
    """Draw one panel of bars per case."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "clusterodm", "font.size": 8}
    import matplotlib.pyplot as plt

    height = 0.5 + 0.28 * max(len(case.medians) for case in cases)
    figure, panels = plt.subplots(1, len(cases), figsize=(3.4 * len(cases), height), squeeze=False)
    for panel, case in zip(panels[0], cases, strict=True):
        names = [name for name in case.medians if case.currency.name in case.medians[name]]
        numbers = [case.medians[name][case.currency.name] for name in names]
        drawn = panel.barh(names, numbers, color=[COLORS.get(name, OTHERS) for name in names], height=0.7)
        panel.bar_label(drawn, [case.currency.shown(number) for number in numbers], padding=2)
        panel.invert_yaxis()
        panel.set_title(f"{case.name}: {case.currency.heading}", loc="left", fontsize=8)
        panel.set_xticks([])
        panel.margins(x=0.18)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.tick_params(left=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
