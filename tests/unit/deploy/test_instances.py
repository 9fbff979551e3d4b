"""Several of each service: what they are called, what each proxy has for itself."""

from pathlib import Path

import pytest

from clusterodm.deploy import checks, instances
from clusterodm.deploy.checks import free_port
from clusterodm.deploy.instances import listeners
from clusterodm.deploy.settings import UpSettings, read


def settings(tmp_path: Path, *flags: str) -> UpSettings:
    return read([f"--data-dir={tmp_path}", *flags])


def test_one_of_each_needs_nothing_to_tell_it_apart(tmp_path: Path):
    one = settings(tmp_path)
    listed = instances.listed(one, {"A": "b"}, instances.own_ports(one))
    assert list(listed) == ["proxy", "scheduler", "autoscaler", "admin"]
    assert {tuple(instance.environment.items()) for instance in listed.values()} == {(("A", "b"),)}
    assert [instance.service for instance in listed.values()] == list(listed)


def test_proxies_have_ports_and_spools_of_their_own(tmp_path: Path):
    several = settings(tmp_path, "--proxies=3", "--schedulers=2", "--metrics-port=9100")
    listed = instances.listed(several, {}, [4001, 4002, 4003])
    assert [name for name in listed if name.startswith(("proxy", "scheduler"))] == [
        "proxy", "proxy-2", "proxy-3", "scheduler", "scheduler-2",
    ]  # fmt: skip
    own = [listed[name].environment for name in ("proxy", "proxy-2", "proxy-3")]
    assert [environment["CLUSTERODM_OWN_PORT"] for environment in own] == ["4001", "4002", "4003"]
    assert [environment["CLUSTERODM_METRICS_PORT"] for environment in own] == ["9100", "9101", "9102"]
    assert [Path(environment["CLUSTERODM_SPOOL_DIR"]) for environment in own] == [
        tmp_path / "spool", tmp_path / "spool-2", tmp_path / "spool-3",
    ]  # fmt: skip
    assert listed["scheduler-2"].environment == {"CLUSTERODM_METRICS_PORT": "9104"}


@pytest.mark.parametrize(
    ("given", "spools"),
    [
        pytest.param("a/spool", ["a/spool", "a/spool-2"], id="as it was given"),
        pytest.param(".", ["HERE", "HERE-2"], id="where it is started"),
        pytest.param("below/..", ["HERE", "HERE-2"], id="above another"),
        pytest.param("/", ["/", "/-2"], id="all there is"),
    ],
)
def test_a_spool_without_a_name_is_called_like_its_directory(
    tmp_path: Path, given: str, spools: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    several = settings(tmp_path, "--proxies=2", f"--spool-dir={given}")
    expected = [Path(name.replace("HERE", str(tmp_path.resolve()))) for name in spools]
    assert [instances.spool(several, number) for number in (1, 2)] == expected


def test_every_service_process_has_a_port_for_its_metrics(tmp_path: Path):
    several = settings(tmp_path, "--metrics-port=9100", "--schedulers=2", "--health-port=9200")
    listed = instances.listed(several, {}, [])
    told = {name: instance.environment["CLUSTERODM_METRICS_PORT"] for name, instance in listed.items()}
    assert told == {
        "proxy": "9100", "scheduler": "9101", "scheduler-2": "9102", "autoscaler": "9103", "admin": "9104",
    }  # fmt: skip
    assert listed["scheduler-2"].environment["CLUSTERODM_HEALTH_PORT"] == "9201", "it keeps its other port"


def test_every_metrics_port_is_looked_at_before_the_start(tmp_path: Path):
    several = settings(tmp_path, "--proxies=2", "--metrics-port=9100", "--metrics-bind=0.0.0.0")
    found = [(host, port) for flag, host, port in listeners(several) if flag == "--metrics-port"]
    assert found == [("0.0.0.0", port) for port in (9100, 9101, 9102, 9103, 9104)]


def test_schedulers_and_autoscalers_have_health_ports_of_their_own(tmp_path: Path):
    several = settings(tmp_path, "--health-port=9200", "--schedulers=2")
    listed = instances.listed(several, {}, [])
    told = {name: instance.environment.get("CLUSTERODM_HEALTH_PORT") for name, instance in listed.items()}
    assert (told["scheduler"], told["scheduler-2"], told["autoscaler"]) == ("9200", "9201", "9202")
    assert [port for flag, _, port in listeners(several) if flag == "--health-port"] == [9200, 9201, 9202]


def test_proxy_workers_are_proxies(tmp_path: Path) -> None:
    assert settings(tmp_path, "--proxy-workers=3").proxies == 3
    assert settings(tmp_path, "--proxy-workers=3", "--proxies=3").proxies == 3


def test_two_words_for_one_number_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings(tmp_path, "--proxy-workers=3", "--proxies=2")

    assert "say different numbers" in capsys.readouterr().err


def test_a_port_that_is_chosen_is_none_that_another_setting_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    named, other = free_port(), free_port()
    monkeypatch.setattr(checks, "LASTING_PORTS", (named, other))
    chosen = {settings(tmp_path, "--port=0", f"--admin-web-port={named}").port for _ in range(20)}
    assert named not in chosen


@pytest.mark.parametrize("flag", ["--proxies=0", "--proxy-workers=0", "--schedulers=17", "--autoscalers=x"])
def test_a_number_that_makes_no_sense_is_refused(flag: str):
    with pytest.raises(SystemExit):
        read([flag])


def test_spools_of_proxies_that_are_not_started_are_named_while_they_hold_uploads(tmp_path: Path):
    for name in ("spool", "spool-2", "spool-3", "spool-4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "instance").touch()
    for name in ("spool", "spool-2", "spool-3"):
        (tmp_path / name / "0b6d2f0e-4a0b-4f7e-8f2a-0c8f5a2d7f11").mkdir()
    assert instances.left_behind(settings(tmp_path, "--proxies=2")) == [tmp_path / "spool-3"]
