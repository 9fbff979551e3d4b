"""`clusterodm asr check --online FILE` in front of stand-ins."""

import json
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.cli import main
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from tests.asr_files import HETZNER

pytestmark = pytest.mark.slow


def checked(folder: Path, content: dict[str, Any]) -> int:
    path = folder / "asr.json"
    path.write_text(json.dumps(content))
    return main(["asr", "check", "--online", str(path)])


def test_what_can_be_reached_has_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with CloudApiProcess("docker") as engine:
        content = {"provider": "docker", "host": engine.url, "keepResults": 0}
        assert checked(tmp_path, content | {"imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}) == 0
    assert capsys.readouterr().out.startswith("no mistakes: docker by api")


@pytest.mark.parametrize("mode", ["api", "docker-machine"])
def test_a_wrong_key_is_a_line_in_both_modes(mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with CloudApiProcess("hetzner") as cloud:
        assert checked(tmp_path, {**HETZNER, "endpoint": cloud.url, "mode": mode, "apiToken": "not-this-one"}) == 2
    said = capsys.readouterr().err
    assert said.startswith("hetzner: GET /v1/servers: 401")
    assert "not-this-one" not in said


def test_a_bucket_that_cannot_be_written_to_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with CloudApiProcess("hetzner") as cloud:
        content = {**HETZNER, "endpoint": cloud.url, "mode": "api", "apiToken": cloud.token}
        content["s3"] = {**HETZNER["s3"], "endpoint": "http://127.0.0.1:9"}
        content |= {"image": "ubuntu-24.04", "sshKey": {"fingerprint": "", "path": ""}, "snapshot": False}
        content |= {"imageSizeMapping": [{"maxImages": 5, "slug": "cx33"}]}
        assert checked(tmp_path, content) == 2
    assert "Cannot connect to S3" in capsys.readouterr().err


def test_a_cloud_that_cannot_be_reached_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = {**HETZNER, "endpoint": "http://127.0.0.1:9", "mode": "api", "apiToken": "token"}
    assert checked(tmp_path, content) == 2
    assert capsys.readouterr().err.startswith("not tried yet: hetzner: GET /v1/servers: no connection")
