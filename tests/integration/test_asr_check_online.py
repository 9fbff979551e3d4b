"""`clusterodm asr check --online FILE` in front of stand-ins."""

import json
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.cli import main
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from tests.asr_files import HETZNER

pytestmark = pytest.mark.slow

NO_BUCKET = "Cannot connect to S3. Check your S3 configuration: EndpointConnectionError"


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


def test_a_bucket_that_does_not_answer_is_a_line_behind_the_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with CloudApiProcess("hetzner") as cloud:
        content = {**HETZNER, "endpoint": cloud.url, "mode": "api", "apiToken": cloud.token}
        content["s3"] = {**HETZNER["s3"], "endpoint": "http://127.0.0.1:9"}
        content |= {"image": "ubuntu-24.04", "sshKey": {"fingerprint": "", "path": ""}, "snapshot": False}
        content |= {"imageSizeMapping": [{"maxImages": 5, "slug": "cx33"}]}
        assert checked(tmp_path, content) == 1
        assert capsys.readouterr().err == f"{NO_BUCKET}\n"
        assert checked(tmp_path, content | {"imageSizeMapping": [{"maxImages": 5, "slug": "cx99"}]}) == 2
        assert capsys.readouterr().err.splitlines() == ["hetzner: there is no size 'cx99'", NO_BUCKET]


def test_what_does_not_answer_is_a_line_each_and_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = {**HETZNER, "endpoint": "http://127.0.0.1:9", "mode": "api", "apiToken": "token"}
    assert checked(tmp_path, content | {"s3": {**HETZNER["s3"], "endpoint": "http://127.0.0.1:9"}}) == 1
    api, bucket = capsys.readouterr().err.splitlines()
    assert api.startswith("no answer: hetzner: GET /v1/servers: no connection")
    assert bucket == NO_BUCKET
