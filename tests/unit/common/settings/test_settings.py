"""Where a setting comes from, and how a wrong one is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.fields import Field, SettingsError
from clusterodm.libs.common.settings.settings import CommonSettings, load, parse

Writer = Callable[[object], str]


class Example(CommonSettings):
    """A service with a few settings of the original."""

    port: int = Field(3000, ge=0, le=65535)
    splitmerge: bool = Field(True)
    token: Secret = Field(Secret(""))
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


def test_a_port_that_kubernetes_has_set_for_a_service_is_named_as_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTERODM_PORT", "tcp://10.0.0.1:3000")
    with pytest.raises(
        SettingsError, match=r"CLUSTERODM_PORT=tcp://10\.0\.0\.1:3000 was set by Kubernetes .* enableServiceLinks"
    ):
        settings()


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


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("Yes", True), ("1", True), ("on", True), ("false", False), ("NO", False), ("0", False)],
)
def test_yes_and_no_have_several_words_in_the_environment(word: str, value: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTERODM_SPLITMERGE", word)
    assert settings().splitmerge is value


def test_a_list_is_json_in_the_environment_and_may_have_commas_in_a_flag(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTERODM_NODE", '["a:1", "b:2"]')
    assert settings().node == ["a:1", "b:2"]
    assert settings("--node", "c:3,d:4").node == ["c:3", "d:4"]
    monkeypatch.setenv("CLUSTERODM_NODE", "a:1")
    with pytest.raises(SettingsError, match="--node: CLUSTERODM_NODE should be a JSON list"):
        settings()


def test_names_count_in_any_case_in_the_environment_and_strange_ones_do_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("clusterodm_port", "3009")
    monkeypatch.setenv("CLUSTERODM_NO_SUCH", "1")
    assert settings().port == 3009


def test_every_mistake_is_told_and_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTERODM_PORT", "x")
    monkeypatch.setenv("CLUSTERODM_NATS_WAIT_S", "0")
    with pytest.raises(SettingsError) as wrong:
        settings("--log-level", "loud")
    assert len(str(wrong.value).splitlines()) == 3
    with pytest.raises(SettingsError) as wrong:
        Example(token=12345)
    assert "12345" not in str(wrong.value)


@pytest.mark.parametrize("given", [True, 1.5, "1.5", "3000.0", "nan", "1e999", None, [1], ""])
def test_what_is_no_whole_number_is_refused(given: object):
    with pytest.raises(SettingsError, match="--port: input should be a valid integer"):
        Example(port=given)


@pytest.mark.parametrize(("given", "port"), [(3000, 3000), (3000.0, 3000), (" 3000 ", 3000), ("03000", 3000)])
def test_a_whole_number_may_be_written_in_several_ways(given: object, port: int):
    assert Example(port=given).port == port


def test_settings_are_frozen_and_can_be_changed_into_others():
    first = settings("--port", "3001")
    with pytest.raises(AttributeError):
        first.port = 3002
    other = first.changed(splitmerge=False)
    assert (other.port, other.splitmerge, first.splitmerge) == (3001, False, True)
    assert other.given == {"port", "splitmerge"}


def test_an_unknown_setting_is_refused():
    with pytest.raises(SettingsError, match="unknown setting --no-such"):
        Example(no_such=1)


class Needing(CommonSettings):
    """A program that cannot do without."""

    source: str = Field(description="where from, 100 %")


def test_what_has_no_default_must_be_given(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SettingsError, match="--source: field required"):
        load(Needing, [], "needing")
    with pytest.raises(SystemExit):
        load(Needing, ["--help"], "needing")
    assert "where from, 100 % (required)" in capsys.readouterr().out
