"""`clusterodm up` replaces whatever dies or hangs, can be stopped at any moment, and leaves nothing behind."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_up import run_dataset
from tests.e2e.up import Up
from tests.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WATCHDOG_S = 6
SERVICES = ("proxy", "scheduler", "autoscaler", "admin", "node-1")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    flags = ("--demo", "--demo-nodes-count=1", f"--watchdog-s={WATCHDOG_S}")
    with Up(tmp_path_factory.mktemp("deaths") / "data", *flags) as running:
        yield running


def process_of(up: Up, name: str) -> int | None:
    """Find the process of a name; None while there is none."""
    try:
        return up.nats() if name == "nats" else up.service(name)
    except (AssertionError, ValueError):
        return None


def replaced(up: Up, name: str, before: int, timeout_s: float) -> None:
    """Wait until another process is there in the place of one."""
    until_sync(lambda: process_of(up, name) not in {None, before}, timeout_s, what=f"another {name}")


@pytest.mark.parametrize("name", [*SERVICES, "nats"])
def test_whoever_hangs_is_replaced_and_the_cluster_works(up: Up, name: str, tmp_path: Path):
    before = process_of(up, name)
    assert before
    os.kill(before, signal.SIGSTOP)
    replaced(up, name, before, 60)
    assert f"{name}: no sign of life for" in up.output
    until_sync(up.healthy, timeout_s=30)
    run_dataset(up, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["proxy", "scheduler", "nats"])
def test_whatever_signal_ends_a_process_it_is_replaced(up: Up, name: str, number: signal.Signals):
    before = process_of(up, name)
    assert before
    os.kill(before, number)
    replaced(up, name, before, 40)
    until_sync(up.healthy, timeout_s=40)


def test_nobody_else_is_given_a_port_of_the_cluster(up: Up):
    facts = json.loads((up.data_dir / "cluster.json").read_text())
    port = int(facts["nats_url"].rpartition(":")[2])
    before = up.nats()
    os.kill(before, signal.SIGKILL)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    replaced(up, "nats", before, 40)
    until_sync(up.healthy, timeout_s=40)


def test_it_ends_in_order_after_all_of_this(up: Up):
    assert up.stop(signal.SIGTERM) == 0
    assert up.processes() == []


@pytest.mark.parametrize("seen", ["", "nats started", "proxy started", "greeting"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped_in_the_middle_of_the_start(tmp_path: Path, seen: str, number: signal.Signals):
    with Up(tmp_path / "data", "--demo").started() as up:
        until_sync((tmp_path / "data" / "up.lock").exists, timeout_s=40)
        until_sync(lambda: seen in up.output or "ClusterODM is ready" in up.output, timeout_s=40)
        assert up.stop(number) in {0, -number}, "by its own order, or before it had begun to hear signals"
        until_sync(lambda: up.processes() == [])
    assert not (tmp_path / "data" / "cluster.json").exists()


def test_a_new_up_ends_what_hangs_of_one_that_was_killed(tmp_path: Path):
    with Up(tmp_path / "data", "--stop-timeout-s=1") as first:
        hung = first.service("scheduler")
        os.kill(hung, signal.SIGSTOP)
        first.stop(signal.SIGKILL)
        with Up(tmp_path / "data") as second:
            assert second.healthy()
            assert hung not in second.processes()
