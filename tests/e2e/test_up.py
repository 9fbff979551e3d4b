"""`clusterodm up`: a whole cluster on one computer, as a user runs it."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyodm
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.datasets import expected, make_images, processed
from tests.e2e.up import Up, command_line, program
from tests.waiting import until_sync

pytestmark = pytest.mark.slow

SERVICES = ("proxy", "scheduler", "autoscaler", "admin")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A cluster for the tests that leave it running."""
    with Up(tmp_path_factory.mktemp("demo") / "data", "--demo") as up:
        yield up


def run_dataset(up: Up, folder: Path, token: str = "") -> None:
    """Send a dataset through the cluster and compare what comes out."""
    images = make_images(folder / "images", 4)
    task = pyodm.Node("127.0.0.1", up.port, token).create_task([str(path) for path in images])
    task.wait_for_completion(interval=0.2)
    assert processed(Path(task.download_zip(str(folder)))) == expected(images)


def test_the_demo_processes_a_dataset_and_ctrl_c_ends_everything(data_dir: Path, tmp_path: Path):
    with Up(data_dir, "--demo") as up:
        assert f"http://localhost:{up.port}" in up.output
        assert "2 of 2 online, 2 of them simulated" in up.output
        run_dataset(up, tmp_path)
        assert up.stop(signal.SIGINT) == 0
        assert up.processes() == []
        assert not (data_dir / "cluster.json").exists()


def test_two_clusters_run_side_by_side(demo: Up, tmp_path: Path):
    with Up(tmp_path / "other", "--demo", "--demo-nodes-count=1") as other:
        assert "1 of 1 online" in other.output
        run_dataset(other, tmp_path / "a")
        run_dataset(demo, tmp_path / "b")
        assert other.stop() == 0
    assert demo.healthy()


def test_a_cluster_keeps_its_tasks_and_nodes_over_a_restart(data_dir: Path, tmp_path: Path):
    with Up(data_dir, "--demo") as up:
        task = pyodm.Node("127.0.0.1", up.port).create_task([str(path) for path in make_images(tmp_path / "i", 2)])
        task.wait_for_completion(interval=0.2)
        up.stop()
    with Up(data_dir, "--demo") as again:
        assert "2 of 2 online" in again.output
        assert pyodm.Node("127.0.0.1", again.port).get_task(task.uuid).info().images_count == 2


def test_a_second_up_on_the_same_data_directory_says_who_uses_it(demo: Up):
    second = Up(demo.data_dir)
    ran = subprocess.run(second.command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("clusterodm up: another clusterodm up (process ")
    assert str(demo.data_dir) in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert demo.healthy()


@pytest.mark.parametrize("flag", ["--port", "--admin-cli-port", "--admin-web-port"])
def test_a_port_in_use_is_named_before_anything_starts(data_dir: Path, flag: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = Up(data_dir, f"{flag}={port}")
        ran = subprocess.run(up.command, env=up.environment, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"clusterodm up: port {port} ({flag}) is in use by another program: stop that, or choose another port\n"
    )
    assert up.processes() == []


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        pytest.param(["--ports=1"], 2, "--ports", id="an unknown flag"),
        pytest.param(["--node=nowhere"], 2, "HOST:PORT", id="a node without port"),
        pytest.param(["--probe-every-s=-1"], 2, "--probe-every-s", id="a value out of range"),
        pytest.param(["--ssl-key=missing.pem", "--ssl-cert=missing.pem"], 1, "missing.pem", id="an unreadable key"),
        pytest.param(["--asr=missing.json"], 1, "--asr missing.json: No such", id="an unreadable autoscaler file"),
        pytest.param(["--asr=/dev/null"], 1, "autoscaler: exit code 78: Cannot initialize ASR", id="an empty one"),
        pytest.param(["--tokens=/dev/null"], 1, "proxy: exit code 1: --tokens /dev/null: ", id="no file of tokens"),
        pytest.param(["--config=missing.json"], 2, "missing.json not found or invalid", id="an unreadable file"),
        pytest.param(["--data-dir=/proc/nowhere"], 1, "--data-dir", id="a data directory that cannot be"),
    ],
)
def test_a_mistake_ends_it_with_a_clear_line_and_leaves_nothing(data_dir: Path, flags: list[str], code: int, said: str):
    up = Up(data_dir, *flags)
    ran = subprocess.run(up.command, env=up.environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
    (line,) = ran.stderr.splitlines()
    assert line.startswith("clusterodm up: ")
    assert said in line
    assert "Traceback" not in ran.stdout + ran.stderr
    assert up.processes() == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_back_and_the_cluster_works(demo: Up, service: str, tmp_path: Path):
    before = demo.service(service)
    os.kill(before, signal.SIGKILL)
    until_sync(lambda: f"{service}: killed by SIGKILL: starting it again" in demo.output)
    until_sync(lambda: service_of(demo, service) not in {None, before}, timeout_s=45)
    until_sync(demo.healthy, timeout_s=45)
    run_dataset(demo, tmp_path)


def test_a_killed_nats_server_is_back_with_everything_it_knew(demo: Up, tmp_path: Path):
    os.kill(demo.nats(), signal.SIGKILL)
    until_sync(lambda: "nats: killed by SIGKILL: starting it again" in demo.output)
    run_dataset(demo, tmp_path)


def test_nothing_survives_a_killed_up(data_dir: Path):
    with Up(data_dir, "--demo") as up:
        up.stop(signal.SIGKILL)
        until_sync(lambda: not up.processes(), timeout_s=30, what="orphans to end")
    with Up(data_dir) as again:
        assert again.healthy()


def test_nodes_named_on_the_command_line_are_registered_at_every_start(data_dir: Path, tmp_path: Path):
    with NodeSimProcess(token="nodetoken", task_time_s=0.2) as node:
        flag = f"--node=127.0.0.1:{node.port}:nodetoken"
        for place in range(2):
            with Up(data_dir, flag) as up:
                assert "1 of 1 online" in up.output
                run_dataset(up, tmp_path / str(place))
                up.stop()


def test_no_token_is_on_a_command_line_or_in_the_output(data_dir: Path, tmp_path: Path):
    secrets = {"CLUSTERODM_TOKEN": "client-secret", "CLUSTERODM_ADMIN_PASS": "admin-secret"}
    with Up(data_dir, "--demo", environment=secrets) as up:
        run_dataset(up, tmp_path, token="client-secret")
        nats_token = (data_dir / "nats" / "token").read_text()
        told = "".join(command_line(process) for process in up.processes()) + up.output
    for secret in (*secrets.values(), nats_token):
        assert secret not in told


def test_tokens_that_were_made_in_the_data_directory_count(data_dir: Path):
    token = words("token", "create", "survey", f"--data-dir={data_dir}").stdout.strip()
    with Up(data_dir, "--demo") as up:
        info = f"http://127.0.0.1:{up.port}/info"
        answers = [httpx.get(info, params=query).status_code for query in ({}, {"token": "x"}, {"token": token})]
        assert answers == [401, 401, 200]
        assert f"clients must send a token of {data_dir / 'tokens.json'}" in up.output


def test_what_holds_secrets_is_for_its_owner_only(demo: Up):
    for name in ("cluster.json", "nats/server.conf", "nats/token"):
        assert (demo.data_dir / name).stat().st_mode & 0o077 == 0, name


def test_the_operators_words_find_the_cluster_by_its_data_directory(demo: Up, tmp_path: Path):
    assert words("node", "list", f"--data-dir={demo.data_dir}").stdout.count("online") == 2
    nowhere = words("node", "list", f"--data-dir={tmp_path}")
    assert nowhere.returncode == 3
    assert "there is no running cluster" in nowhere.stderr


def words(*said: str) -> subprocess.CompletedProcess[str]:
    """Run one of the operator's words."""
    return subprocess.run([program(), *said], capture_output=True, text=True, timeout=30, check=False)


def service_of(up: Up, service: str) -> int | None:
    """Find the process of a service, or None while there is none."""
    try:
        return up.service(service)
    except AssertionError:
        return None
