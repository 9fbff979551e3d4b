"""Writes docs/metrics.md, the list of the metrics: `python docs/write_metrics.py`. A test keeps the two together."""
# ruff: noqa: INP001 a script beside the document that it writes

import argparse
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from clusterodm.libs.common.telemetry.metrics import DECLARED, Histogram, Metric

TARGET: Final = Path(__file__).with_name("metrics.md")
COMMON: Final = "every service"
DECLARING: Final[Mapping[str, tuple[str, ...]]] = {
    COMMON: (
        "libs.common.telemetry.metrics",
        "libs.common.health.vitals",
        "libs.common.bus.requests",
        "libs.common.bus.bus",
        "libs.common.bus.endpoints",
        "libs.common.bus.serving",
        "libs.common.telemetry.log",
        "libs.common.telemetry.otlp",
    ),
    "proxy": ("services.proxy.metrics",),
    "scheduler": ("services.scheduler.metrics",),
    "autoscaler": ("services.autoscaler.metrics",),
    "admin": ("services.admin.metrics",),
}
"""Who declares what; a test sees that no other module does."""

INTRODUCTION: Final = """\
# Metrics

Written by `python docs/write_metrics.py`; do not edit.

`--metrics-port N` (`CLUSTERODM_METRICS_PORT`; off unless set) and `--metrics-bind ADDRESS` (this computer alone unless set) of each
service serve `GET /metrics` in Prometheus' text format, and `/healthz` and `/readyz` beside it. `clusterodm up --metrics-port N` counts
on from N: proxies, schedulers, autoscalers, the admin; `metrics_ports` in the data directory's `cluster.json` says which is whose.
[deploy/observability](../deploy/observability/README.md) has a scrape configuration, rules with alerts, and a dashboard;
[runbooks](runbooks/README.md) says what to do about each alert.

* Counters begin at 0 with their process: use `rate()` and `increase()`.
* What is the whole cluster's (tasks, queue, nodes, machines, cost) is told by the scheduler and the autoscaler that *lead*, and by nobody
  else; `clusterodm_leader` says who does.
* Values of labels are few: endpoints are templates, no id of a task is ever one. The first thousand nodes have series of their own.
* `tenant` is the name of a tenant, of the first 500 whose tasks end in a scheduler's time; `other` are all tenants beyond, `unnamed` tasks of tokens
  without a tenant, and an empty one those without a token. For bills there is `clusterodm tenant usage`, which leaves nobody out.
* A scrape costs what there are nodes and machines, whatever waits or runs. Counting costs a request a microsecond or two.
* No token, password or address of a client is in a metric. Names of nodes are: let nobody reach the port who may not know them.
* Beside these there are `process_*` (memory, CPU, open files) and `python_*` of the Prometheus client library.
"""


def main() -> int:
    """Write the document."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(render(), encoding="utf-8")
    return 0


def render() -> str:
    """Make the document."""
    parts = [INTRODUCTION]
    for who, names in declared().items():
        parts.append(
            f"\n## Of {who if who == COMMON else f'the {who}'}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n"
        )
        parts += [row(DECLARED[name]) for name in names]
    return "".join(parts)


def declared() -> dict[str, list[str]]:
    """Say who declares which metrics, by reading their modules."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for who, modules in DECLARING.items():
        named = dict.fromkeys(name for module in modules for name in of_module(module))
        found[who] = [name for name in named if name not in seen]
        seen |= set(found[who])
    return found


def of_module(name: str) -> list[str]:
    """Name the metrics that one module knows, in the order in which they stand there; some may be those of a module before."""
    return [each.name for each in vars(import_module(f"clusterodm.{name}")).values() if isinstance(each, Metric)]


def row(metric: Metric) -> str:
    """Write one line of a table."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    kind = (
        f"{metric.kind}, {metric.limits[0]:g} to {metric.limits[-1]:g}"
        if isinstance(metric, Histogram)
        else metric.kind
    )
    return f"| `{metric.name}` | {kind} | {labels} | {metric.said} |\n"


if __name__ == "__main__":
    raise SystemExit(main())
