"""`/readyz` of all four services of a running cluster: how each of their loops is, and whether those that they need answer."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.up import Up
from tests.machines_file import machines_file
from tests.ports import ports_in_a_row
from tests.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SERVICES = ("proxy", "scheduler", "autoscaler", "admin")
LOOPS = {
    "proxy": {"mirror tasks", "mirror nodes", "ask for slots", "ask about tasks", "take up tasks from URLs", "sweep"},
    "scheduler": {"probe nodes", "place tasks", "tell totals", "follow others", "fetch options", "renew scheduler"},
    "autoscaler": {"follow ids", "follow tasks", "plan machines", "compare machines", "renew autoscaler"},
    "admin": {"mirror progress", "mirror spools", "mirror proxies", "sample"},
}
"""Some of each, of every kind: those that go round, that follow a bucket, and that wait for events."""
FOLLOWS = ("mirror ", "follow ")


class Running:
    """A cluster with a page of its health for each service."""

    def __init__(self, up: Up, first_port: int) -> None:
        self.up = up
        self._ports = dict(zip(SERVICES, range(first_port, first_port + len(SERVICES)), strict=True))

    def readyz(self, service: str) -> tuple[int, dict[str, Any]]:
        """Ask for it; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[service]}/readyz", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def all_ready(self) -> bool:
        """Whether all four say so."""
        return all(self.readyz(service)[0] == 200 for service in SERVICES)

    def misses(self, service: str, needed: str) -> bool:
        """Whether a service is not ready, and says that it lacks another."""
        code, said = self.readyz(service)
        return code == 503 and not said["services"][needed]["ok"]

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """Stop a process, as one that hangs, while the context is open."""
        process = self.up.service(service)
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("health")
    first_port = ports_in_a_row(len(SERVICES))
    flags = (f"--metrics-port={first_port}", f"--asr={machines_file(folder)}", "--watchdog-s=600")
    with Up(folder / "data", "--demo", "--demo-nodes-count=1", *flags) as up:
        cluster = Running(up, first_port)
        until_sync(cluster.all_ready, timeout_s=90, what="all four to be ready")
        yield cluster


@pytest.mark.parametrize("service", SERVICES)
def test_every_loop_of_every_service_says_how_old_its_last_success_is(running: Running, service: str):
    def ageless() -> list[str]:
        return [loop["name"] for loop in running.readyz(service)[1]["loops"] if "success_age_s" not in loop]

    until_sync(lambda: not ageless(), timeout_s=120, what="each loop to have been round once")
    loops = {loop["name"]: loop for loop in running.readyz(service)[1]["loops"]}
    assert LOOPS[service] <= set(loops)
    assert [name for name, loop in loops.items() if not loop["ok"]] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_loop_that_follows_a_bucket_goes_by_its_signs_of_life(running: Running, service: str):
    oldest = ages(running, service)
    assert oldest
    fresh: set[str] = set()

    def each_was_fresh_again() -> bool:
        for name, age_s in ages(running, service).items():
            if age_s < oldest[name]:
                fresh.add(name)
            oldest[name] = max(oldest[name], age_s)
        return fresh == set(oldest)

    until_sync(each_was_fresh_again, timeout_s=60, what="a sign of life of each")


def ages(running: Running, service: str) -> dict[str, float]:
    """Say how long ago each loop that follows something has heard of it."""
    loops = running.readyz(service)[1]["loops"]
    return {loop["name"]: loop["success_age_s"] for loop in loops if loop["name"].startswith(FOLLOWS)}


def test_a_frozen_scheduler_is_seen_by_the_three_that_need_it(running: Running):
    with running.frozen("scheduler"):
        for service in ("proxy", "autoscaler", "admin"):
            until_sync(
                lambda service=service: running.misses(service, "scheduler"), timeout_s=60, what=f"{service} to see it"
            )
    until_sync(running.all_ready, timeout_s=90, what="all four to be ready again")


def test_a_frozen_autoscaler_is_seen_by_the_admin_and_leaves_the_others_of_use(running: Running):
    with running.frozen("autoscaler"):
        until_sync(lambda: running.misses("admin", "autoscaler"), timeout_s=60, what="the admin to see it")
        assert [running.readyz(service)[0] for service in ("proxy", "scheduler")] == [200, 200]
    until_sync(running.all_ready, timeout_s=90, what="all four to be ready again")
