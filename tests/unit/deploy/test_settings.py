"""`clusterodm up` knows every setting of its services and hands them on by environment only."""

import json
from pathlib import Path

import pytest

from clusterodm.deploy.local import grace_s
from clusterodm.deploy.plan import NodeAddress
from clusterodm.deploy.settings import READ_FILES, WRITTEN_FILES, UpSettings, address, environment, read
from clusterodm.libs.common.settings.settings import load
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.autoscaler.settings import AutoscalerSettings
from clusterodm.services.proxy.settings import ProxySettings
from clusterodm.services.scheduler.settings import SchedulerSettings

ORIGINAL = [
    "--port=3001", "-p=3001", "--secure-port=0", "--admin-cli-port=0", "--admin-web-port=0", "--admin-pass=x",
    "--log-level=debug", "--cloud-provider=local", "-c=local", "--upload-max-speed=1000",
    "--downloads-from-s3=https://bucket.example", "--no-splitmerge", "--public-address=http://here:3000",
    "--flood-limit=3", "--stale-uploads-timeout=2", "--token=t", "--debug", "--asr=asr.json", "--access-log=access.log",
]  # fmt: skip
"""Of ClusterODM 1.5.3 (November 2025) and ClusterODX (April 2026), whose only other one is --access-log; --config has tests of its own."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch):
    for name in ("CLUSTERODM_CONFIG", "CLUSTERODM_TOKEN", "CLUSTERODM_TOKENS", "CLUSTERODM_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("flag", ORIGINAL)
def test_every_flag_of_the_original_is_accepted(flag: str):
    assert read(flag.split("=") if flag.startswith(("-p=", "-c=")) else [flag])


@pytest.mark.parametrize(
    ("words", "splitmerge", "debug"),
    [
        pytest.param(["--splitmerge=false"], False, False, id="off"),
        pytest.param(["--splitmerge", "false", "--debug", "true"], False, True, id="a word of its own"),
        pytest.param(["--no-splitmerge", "--debug=true"], False, True, id="on"),
        pytest.param(["--debug", "--token", "true"], True, True, id="a token that looks like one"),
    ],
)
def test_a_switch_is_turned_as_for_the_original(words: list[str], splitmerge: bool, debug: bool):
    read_back = read(words)
    assert (read_back.splitmerge, read_back.debug) == (splitmerge, debug)


@pytest.mark.parametrize("words", [["true"], ["--port", "3000", "false"], ["--debug", "maybe"], ["--debug=maybe"]])
def test_a_switch_has_two_positions_and_nothing_else_is_one(words: list[str]):
    with pytest.raises(SystemExit):
        read(words)


@pytest.mark.parametrize("service", [ProxySettings, SchedulerSettings, AutoscalerSettings, AdminSettings])
def test_every_setting_of_every_service_is_known(service: type[UpSettings]):
    assert set(service.settings) <= set(UpSettings.settings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("node:3000", NodeAddress("node", 3000), id="host and port"),
        pytest.param("10.0.0.1:3000:a:b", NodeAddress("10.0.0.1", 3000, "a:b"), id="a token with a colon"),
        pytest.param("[::1]:3000", NodeAddress("::1", 3000), id="IPv6"),
        pytest.param("[fe80::1]:3000:t", NodeAddress("fe80::1", 3000, "t"), id="IPv6 with a token"),
    ],
)
def test_a_node_address_is_read(text: str, expected: NodeAddress):
    assert address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node",
        ":3000",
        "node:",
        "node:0",
        "node:65536",
        "node:x",
        "http://node:3000",
        "fd00::1:3000",
        "[node]:3000",
        "a(b):1",
    ],
)
def test_what_is_no_node_address_is_refused_without_repeating_it(text: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        read([f"--node={text}"])
    assert leaving.value.code == 2
    assert "HOST:PORT" in capsys.readouterr().err


def test_nodes_with_ipv6_addresses_may_be_given_as_flags():
    settings = read(["--node", "[fd00::1]:3000", "--node=[::1]:1:t", "--node", "a:2"])
    assert settings.nodes == [NodeAddress("fd00::1", 3000), NodeAddress("::1", 1, "t"), NodeAddress("a", 2)]


def test_nodes_may_be_given_several_times_and_hide_their_tokens():
    settings = read(["--node", "a:1", "--node", "b:2:secret"])
    assert settings.nodes == [NodeAddress("a", 1), NodeAddress("b", 2, "secret")]
    assert "secret" not in repr(settings) + repr(settings.nodes)


def test_what_was_set_reaches_the_services_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"admin-pass": "from file", "flood-limit": 4, "no-splitmerge": True}))
    monkeypatch.setenv("CLUSTERODM_TOKEN", "from environment")
    monkeypatch.setenv("CLUSTERODM_CONFIG", str(config))
    settings = read(["--port=3005", "--flood-limit=5", f"--data-dir={tmp_path}"])
    given = environment(settings)
    assert given["CLUSTERODM_PORT"] == "3005"
    assert given["CLUSTERODM_FLOOD_LIMIT"] == "5", "a flag comes before the file"
    assert given["CLUSTERODM_TOKEN"] == "from environment"
    assert given["CLUSTERODM_ADMIN_PASS"] == "from file"
    assert given["CLUSTERODM_SPLITMERGE"] == "false"
    assert "CLUSTERODM_NATS_URL" not in given, "each service has one of its own"
    assert given["CLUSTERODM_DATA_DIR"] == str(tmp_path)
    assert "CLUSTERODM_CONFIG" not in given
    assert "CLUSTERODM_DEMO" not in given


def test_the_services_read_the_same_values_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    settings = read(["--port=3005", "--no-splitmerge", "--upload-max-speed=7", "--token=t", f"--data-dir={tmp_path}"])
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    proxy = load(ProxySettings, [], "proxy")
    assert (proxy.port, proxy.splitmerge, proxy.upload_max_speed, proxy.expected_token) == (3005, False, 7, "t")


def test_port_zero_takes_a_free_one():
    assert read(["--port=0"]).port > 0


def test_a_service_is_given_the_time_until_it_has_drained_and_finished():
    settings = read(["--drain-s=60", "--stop-timeout-s=30"])
    assert grace_s(settings) > settings.drain_s + settings.stop_timeout_s


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([], "tokens.json"),
        (["--tokens=/etc/other.json"], "/etc/other.json"),
        (["--token=t"], ""),
        (["--cloud-provider=http", "--cloud-provider-url=http://here"], ""),
    ],
    ids=["nothing is said", "another file", "one token", "somebody is asked"],
)
def test_tokens_of_the_data_directory_count_unless_it_is_said_who_checks_tokens(
    words: list[str], taken: str, tmp_path: Path
):
    assert read([*words, f"--data-dir={tmp_path}"]).tokens == (taken if taken.startswith("/") else "")
    (tmp_path / "tokens.json").write_text("{}")
    found = read([*words, f"--data-dir={tmp_path}"])
    assert found.tokens == (str(tmp_path / taken) if taken else "")
    assert ("CLUSTERODM_TOKENS" in environment(found)) == bool(taken)


def test_every_file_that_a_setting_names_is_looked_at_before_the_start():
    named = {
        name
        for name, setting in UpSettings.settings.items()
        if setting.description.startswith(("file ", "JSON file ", "directory "))
    }
    assert named == {*READ_FILES, *WRITTEN_FILES, "config", "spool_dir", "data_dir"}
