"""`clusterodm up --asr FILE` as a user runs it: what it finds at the start, and what it says when something will not do."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from clusterodm.libs.machinesim.testing import DockerMachineSim
from tests.asr_files import DIGITALOCEAN
from tests.e2e.up import Up
from tests.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed
from tests.waiting import until_sync

pytestmark = pytest.mark.slow

WRONG_SECRET = "wrong-secret"
NO_ANSWER = "no answer in 15 s"
NOT_FOUND = "Docker-machine not found in PATH. Please install docker-machine if you want to use the autoscaler."


@pytest.fixture
def docker_machine(tmp_path: Path) -> Iterator[DockerMachineSim]:
    with DockerMachineSim(tmp_path / "dm") as machines:
        yield machines


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class WithoutBuckets(BaseHTTPRequestHandler):
    """A storage without any bucket: SeaweedFS makes those that it lacks."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_what: object) -> None:
        """Say nothing of single requests."""


def file_of(folder: Path, bucket: Mapping[str, Any], **more: Any) -> Path:
    file = folder / "asr.json"
    file.write_text(json.dumps({**DIGITALOCEAN, "s3": bucket, **more}))
    return file


def bucket_of(seaweed: Seaweed, **changes: str) -> dict[str, str]:
    there = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "endpoint": seaweed.endpoint, "bucket": "results"}
    return there | changes


def up_of(folder: Path, file: Path, environment: Mapping[str, str]) -> Up:
    return Up(folder / "data", f"--asr={file}", "--no-asr-cross-check", environment=environment)


def ends_with(up: Up, said: str) -> None:
    """It ends by itself: one clear line, a code that is not 0, one start of the autoscaler, and no process left."""
    ran = subprocess.run(up.command, env=up.environment, capture_output=True, text=True, timeout=90, check=False)
    told = ran.stdout + ran.stderr
    assert ran.returncode == 1, told
    assert ran.stdout.count(f"Cannot initialize ASR: {said}") == 1, told
    (line,) = ran.stderr.splitlines()
    assert line.startswith("clusterodm up: autoscaler: exit code "), told
    assert "starting it again" not in told
    assert "Traceback" not in told
    assert not any(secret in told for secret in (SECRET_KEY, WRONG_SECRET))
    assert up.processes() == []


def test_it_says_what_the_autoscaler_has_found(tmp_path: Path, seaweed: Seaweed, docker_machine: DockerMachineSim):
    file = file_of(tmp_path, bucket_of(seaweed))
    with up_of(tmp_path, file, docker_machine.environment) as up:
        until_sync(lambda: "Found docker-machine executable" in up.output, what="docker-machine to be found")
        assert "Can write to S3" in up.output
        assert SECRET_KEY not in up.output
        assert up.stop() == 0
        assert up.processes() == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"secretKey": WRONG_SECRET}, "SignatureDoesNotMatch", id="a wrong secret"),
        pytest.param({"accessKey": "WRONGKEY"}, "InvalidAccessKeyId", id="a wrong key"),
        pytest.param({"endpoint": "http://127.0.0.1:1"}, "EndpointConnectionError", id="nobody there"),
    ],
)
def test_a_bucket_that_will_not_do_ends_it(
    changes: dict[str, str], code: str, tmp_path: Path, seaweed: Seaweed, docker_machine: DockerMachineSim
):
    file = file_of(tmp_path, bucket_of(seaweed, **changes))
    words = f"Cannot connect to S3. Check your S3 configuration: {code}"
    ends_with(up_of(tmp_path, file, docker_machine.environment), words)


def test_a_bucket_that_does_not_exist_ends_it(tmp_path: Path, seaweed: Seaweed, docker_machine: DockerMachineSim):
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutBuckets) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        file = file_of(tmp_path, bucket_of(seaweed, endpoint=f"http://127.0.0.1:{server.server_port}"))
        words = "Cannot connect to S3. Check your S3 configuration: NoSuchBucket"
        ends_with(up_of(tmp_path, file, docker_machine.environment), words)
        server.shutdown()


def test_a_storage_that_does_not_answer_ends_it(
    tmp_path: Path, seaweed: Seaweed, silent_server: str, docker_machine: DockerMachineSim
):
    file = file_of(tmp_path, bucket_of(seaweed, endpoint=silent_server))
    words = f"Cannot connect to S3. Check your S3 configuration: {NO_ANSWER}"
    ends_with(up_of(tmp_path, file, docker_machine.environment), words)


def test_a_missing_docker_machine_ends_it(tmp_path: Path, seaweed: Seaweed):
    file = file_of(tmp_path, bucket_of(seaweed))
    assert shutil.which("docker-machine") is None
    ends_with(up_of(tmp_path, file, {}), NOT_FOUND)


def test_a_docker_machine_that_does_not_work_ends_it(
    tmp_path: Path, seaweed: Seaweed, docker_machine: DockerMachineSim
):
    (docker_machine.bin / "docker-machine").write_text("#!/bin/sh\nexit 3\n")
    file = file_of(tmp_path, bucket_of(seaweed))
    ends_with(up_of(tmp_path, file, docker_machine.environment), "Docker-machine does not seem to work.")


def test_a_file_that_is_not_filled_in_ends_it(tmp_path: Path, seaweed: Seaweed):
    file = file_of(tmp_path, bucket_of(seaweed), accessToken="CHANGEME!")
    ends_with(up_of(tmp_path, file, {}), f"{file}: accessToken")
