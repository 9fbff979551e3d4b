"""Where a setting comes from, and how a wrong one is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsError

from libs.common.settings import CommonSettings, load, parse

Writer = Callable[[object], str]


class Example(CommonSettings):
    """A service with a few settings of the original."""

    port: int = Field(3000, ge=0, le=65535)
    splitmerge: bool = Field(True)
    token: SecretStr = Field(SecretStr(""))
    node: list[str] = Field([])


class Knowing(Example):
    every_key_counts: ClassVar[bool] = True


def settings(*argv: str) -> Example:
    return load(Example, argv, "example", {"port": "p"})


@pytest.fixture
def file(tmp_path: Path) -> Writer:
    def write(content: object) -> str:
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_a_flag_wins_over_environment_file_and_default(file: Writer, monkeypatch: pytest.MonkeyPatch):
    path = file({"port": 3003})
    assert settings().port == 3000
    assert settings("--config", path).port == 3003
    monkeypatch.setenv("CLUSTERODM_PORT", "3002")
    assert settings("--config", path).port == 3002
    assert settings("--config", path, "--port", "3001").port == 3001


@pytest.mark.parametrize(
    ("argv", "port"),
    [
        pytest.param(["-p", "4000"], 4000, id="short flag"),
        pytest.param(["--port=4000"], 4000, id="with an equals sign"),
        pytest.param(["--port", "0"], 0, id="zero"),
    ],
)
def test_a_flag_is_written_as_for_the_original(argv: list[str], port: int):
    assert settings(*argv).port == port


def test_a_flag_is_negated_with_no():
    assert settings("--no-splitmerge").splitmerge is False


def test_a_flag_may_be_repeated():
    assert settings("--node", "a:1", "--node", "b:2").node == ["a:1", "b:2"]


def test_the_file_of_the_original_works_unchanged(file: Writer):
    path = file({"port": "3100", "admin-cli-port": 8080, "token": "", "splitmerge": False, "cluster-address": ""})
    assert settings("--config", path).port == 3100
    assert settings("--config", path).splitmerge is False


def test_an_unknown_key_of_the_file_is_mentioned(file: Writer, capsys: pytest.CaptureFixture[str]):
    settings("--config", file({"prot": 1}))
    assert "'prot'" in capsys.readouterr().err


def test_an_unknown_key_is_an_error_where_every_key_counts(file: Writer):
    with pytest.raises(SettingsError, match="did you mean 'port'"):
        load(Knowing, ["--config", file({"prot": 1})], "example")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(["--port", "abc"], "--port", id="not a number"),
        pytest.param(["--port", "70000"], "--port", id="out of range"),
        pytest.param(["--bogus", "1"], "--bogus", id="unknown flag"),
        pytest.param(["--port"], "--port", id="missing value"),
        pytest.param(["--log-level", "loud"], "--log-level", id="not a choice"),
        pytest.param(["--config", "/nonexistent.json"], "/nonexistent.json not found or invalid", id="no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        parse(Example, argv, "example")
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("content", ["{bad", "[1]", ""])
def test_a_file_that_is_not_an_object_is_refused(file: Writer, content: str):
    with pytest.raises(SettingsError, match="not found or invalid"):
        settings("--config", file(content))


def test_a_secret_shows_nowhere():
    shown = repr(settings("--token", "verysecret"))
    assert "verysecret" not in shown


class Patient(CommonSettings):
    """A service with a setting that has two names."""

    node_grace_s: float = Field(120.0, gt=0)


def test_a_setting_is_known_by_its_other_name_too(file: Writer, monkeypatch: pytest.MonkeyPatch):
    def grace_s(*argv: str) -> float:
        return load(Patient, argv, "example").node_grace_s

    path = file({"node-grace": 4})
    assert grace_s("--config", path) == 4
    monkeypatch.setenv("CLUSTERODM_NODE_GRACE", "3")
    assert grace_s("--config", path) == 3
    monkeypatch.setenv("CLUSTERODM_NODE_GRACE_S", "2")
    assert grace_s("--config", path) == 2
    assert grace_s("--config", path, "--node-grace", "1") == 1
    assert grace_s("--node-grace=5") == 5
    with pytest.raises(SettingsError, match="--node-grace-s"):
        grace_s("--node-grace", "0")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        pytest.param("--prot=1", "unknown flag --prot (did you mean '--port'?)", id="a near miss"),
        pytest.param("--no-splitmrege", "unknown flag --no-splitmrege (did you mean '--no-splitmerge'?)", id="negated"),
        pytest.param("--xyzzy", "unknown flag --xyzzy", id="nothing near"),
    ],
)
def test_an_unknown_flag_names_the_nearest_known(word: str, said: str):
    with pytest.raises(SettingsError) as caught:
        settings(word)
    assert str(caught.value) == said


def test_the_flags_of_early_versions_of_the_original_still_work():
    assert settings("--no-cluster").splitmerge is False
