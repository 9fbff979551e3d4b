"""`clusterodm asr check FILE`: without a cluster, a line for each mistake."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.cli import main
from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.config.adapters import secret_in
from tests.asr_files import DIGITALOCEAN, FILES, SECRETS


def checked(folder: Path, content: Any) -> int:
    path = folder / "asr.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return main(["asr", "check", str(path)])


@pytest.mark.parametrize("provider", FILES)
def test_a_file_without_mistakes_is_said_in_a_line(provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert checked(tmp_path, FILES[provider]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"no mistakes: {provider} by docker-machine; ")
    assert len(said.out.splitlines()) == 1
    assert not any(secret in said.out + said.err for secret in SECRETS[provider])


def test_a_file_without_a_bucket_says_that_results_go_with_their_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    content = {"provider": "docker", "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}
    assert checked(tmp_path, content) == 2
    assert "s3: is missing: results would go with their machine" in capsys.readouterr().err
    assert checked(tmp_path, content | {"keepResults": 600}) == 0
    assert "results go with their machine, 600 s after its last task" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param(DIGITALOCEAN | {"accessToken": "CHANGEME!"}, ["accessToken"], id="a key that was left as it was"),
        pytest.param(DIGITALOCEAN | {"dropletLimit": 3}, ["dropletLimit"], id="an unknown key"),
        pytest.param(
            DIGITALOCEAN | {"dropletsLimit": "many", "imageSizeMapping": [{"maxImages": 5}]},
            ["dropletsLimit", "imageSizeMapping"],
            id="two mistakes",
        ),
        pytest.param("{", ["not valid JSON"], id="no JSON"),
        pytest.param({}, ["provider"], id="no provider"),
    ],
)
def test_every_mistake_is_a_line_that_names_it(
    content: Any, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert checked(tmp_path, content) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sorted(word for word in lines for line in said.err.splitlines() if word in line) == sorted(lines)
    assert all("asr.json" in line for line in said.err.splitlines())


def test_a_file_that_is_not_there_is_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["asr", "check", "/nonexistent/asr.json"]) == 2
    assert capsys.readouterr().err == "/nonexistent/asr.json: No such file or directory\n"


@pytest.mark.parametrize("words", [[], ["a", "b"]], ids=["no file", "two files"])
def test_wrong_usage_is_exit_code_2(words: list[str]):
    assert main(["asr", "check", *words]) == 2


def test_a_secret_is_not_looked_for_in_what_cannot_hold_one(tmp_path: Path):
    long, pipe = tmp_path / "long", tmp_path / "pipe"
    long.write_bytes(bytes(100_000))
    os.mkfifo(pipe)
    for name, why in (("/dev/zero", "it is no regular file"), (pipe, "it is no regular file"), (long, "longer than")):
        with pytest.raises(Refused, match=why):
            secret_in(str(name))
