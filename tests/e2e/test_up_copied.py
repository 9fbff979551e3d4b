"""From the NATS that `clusterodm up` has started to a cluster of three, as docs/deploy.md says."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyodm
import pytest

from tests.datasets import expected, make_images, processed
from tests.e2e.up import Up, program
from tests.nats_cluster import NatsCluster, nats_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

COMPLETED = 40


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path / "three") as three:
        yield three


def copied(up: Up, servers: NatsCluster) -> "subprocess.CompletedProcess[str]":
    """Copy the records."""
    flags = [f"--nats-from={up.data_dir}", f"--nats-url={servers.url}", "--nats-replicas-count=3", "--nats-wait-s=60"]
    return subprocess.run([program(), "copy-nats", *flags], capture_output=True, text=True, check=False, timeout=120)


def test_up_goes_on_with_three_servers_where_its_own_has_ended(tmp_path: Path, servers: NatsCluster):
    images = make_images(tmp_path / "images", 2)
    with Up(tmp_path / "data", "--demo") as up:
        node = pyodm.Node("127.0.0.1", up.port)
        before = node.create_task([str(path) for path in images], name="before")
        before.wait_for_completion(interval=0.2)
        refused = copied(up, servers)
        assert (refused.returncode, "another clusterodm up" in refused.stderr) == (1, True), refused
    done = copied(up, servers)
    assert (done.returncode, "KV_nodes: " in done.stdout) == (0, True), done
    assert up.processes() == [], "nats-server has ended with the copying"

    flags = (f"--nats-url={servers.url}", "--nats-replicas-count=3", "--nats-wait-s=60")
    with Up(tmp_path / "data", "--demo", *flags) as again:
        node = pyodm.Node("127.0.0.1", again.port)
        assert node.get_task(before.uuid).info().status.value == COMPLETED
        assert processed(Path(node.get_task(before.uuid).download_zip(str(tmp_path / "result")))) == expected(images)
        later = node.create_task([str(path) for path in images], name="later")
        later.wait_for_completion(interval=0.2)
        assert "under_replicated" not in again.output
        assert "nats started" not in again.output
