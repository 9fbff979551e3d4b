"""The import contracts of pyproject.toml hold, and each of them can be broken."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")
PACKAGES = ("services", "libs", "deploy")

INTRUDERS = {
    "Inside the proxy": ("services/proxy/utils.py", ""),
    "Inside a room of the proxy": ("services/proxy/polling/utils.py", ""),
    "Only main opens the proxy's adapters; clusterodm up looks at directories of spools first": (
        "services/proxy/server/intruder.py",
        "import clusterodm.services.proxy.nodes.adapters",
    ),
    "Inside the scheduler": (
        "services/scheduler/registry/intruder.py",
        "import clusterodm.services.scheduler.records.core",
    ),
    "Inside a story of the scheduler": (
        "services/scheduler/tasks/core/intruder.py",
        "import clusterodm.services.scheduler.tasks.handlers",
    ),
    "Only the scheduler's main sees its adapters": (
        "services/scheduler/demand/core.py",
        "import clusterodm.services.scheduler.records.adapters",
    ),
    "Demand reads placement's core": (
        "services/scheduler/demand/handlers.py",
        "import clusterodm.services.scheduler.placement.api",
    ),
    "Inside the autoscaler": (
        "services/autoscaler/machines/core.py",
        "import clusterodm.services.autoscaler.planning.core.plan",
    ),
    "Inside a story of the autoscaler": (
        "services/autoscaler/identity/core.py",
        "import clusterodm.services.autoscaler.identity.handlers",
    ),
    "Only the autoscaler's main": (
        "services/autoscaler/commands.py",
        "import clusterodm.services.autoscaler.results.adapters",
    ),
    "The autoscaler's vendors": (
        "services/autoscaler/providers/adapters/ec2/launch.py",
        "import clusterodm.services.autoscaler.providers.adapters.hetzner",
    ),
    "Inside the admin": ("services/admin/commands/intruder.py", "import clusterodm.services.admin.rendering.text"),
    "Inside a story of the admin": (
        "services/admin/takeover/core.py",
        "import clusterodm.services.admin.takeover.handlers",
    ),
    "Services know each other": ("services/proxy/errors.py", "import clusterodm.services.admin.commands"),
    "deploy runs services": ("libs/common/model/nodes.py", "import clusterodm.services.proxy"),
    "Inside clusterodm.libs.common": ("libs/common/errors.py", "import clusterodm.libs.common.messages"),
    "Inside the rooms of clusterodm.libs.common": (
        "libs/common/model/values.py",
        "import clusterodm.libs.common.model.tasks",
    ),
    "Cores are pure": ("services/scheduler/task_life/intruder.py", "import time"),
    "The nouns, messages and errors": ("libs/common/identity.py", "import random"),
    "clusterodm.libs.http1 does no I/O": ("libs/http1/lines.py", "import time"),
    "The simulated node is a stranger": ("libs/nodesim/intruder.py", "import clusterodm.libs.common.version"),
    "Production code never uses the fakes": (
        "services/admin/takeover/handlers.py",
        "import clusterodm.libs.common.testing.memory_bus",
    ),
    "One door to NATS": ("services/proxy/nodes/adapters.py", "import nats"),
    "httpx where calls are rare": ("services/proxy/peers/adapters.py", "import httpx"),
    "Vendors stay behind their doors": ("services/proxy/server/listen.py", "import httptools"),
    "Web frameworks in api only": ("services/admin/commands/handlers/execute.py", "import starlette"),
}
"""What breaks each contract: a file, and the line that is added to it."""


def lint(root: Path) -> str:
    """Run lint-imports on a tree; what it prints."""
    ran = subprocess.run(
        [LINT, "--no-cache", "--config", root / "pyproject.toml"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return ran.stdout + ran.stderr


def test_every_contract_is_kept():
    assert re.search(r"Contracts: \d+ kept, 0 broken", lint(REPOSITORY))


def test_every_contract_breaks_when_somebody_breaks_it(tmp_path: Path):
    shutil.copytree(REPOSITORY / "clusterodm", tmp_path / "clusterodm", symlinks=True)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for name, line in INTRUDERS.values():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n{line}\n")
    outcomes = re.findall(r"^(.+?) (KEPT|BROKEN)", lint(tmp_path), flags=re.MULTILINE)
    kept = [contract for contract, outcome in outcomes if outcome == "KEPT"]
    assert outcomes
    assert not kept
    assert len(outcomes) == len(INTRUDERS), "a contract without an intruder, or the other way round"
