"""settings/addresses.py: a flag that names no server is found out when it is read, whoever reads it."""

import pytest

from clusterodm.deploy.copying import CopySettings
from clusterodm.deploy.settings import UpSettings
from clusterodm.libs.common.settings.addresses import nats_servers, web_address
from clusterodm.libs.common.settings.collectors import ANY_ENDPOINT, TRACES_ENDPOINT
from clusterodm.libs.common.settings.fields import SettingsError
from clusterodm.libs.common.settings.settings import CommonSettings, parse
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.autoscaler.settings import AutoscalerSettings
from clusterodm.services.proxy.settings import ProxySettings
from clusterodm.services.scheduler.settings import SchedulerSettings

SERVICES = (ProxySettings, SchedulerSettings, AutoscalerSettings, AdminSettings)


@pytest.mark.parametrize(
    "text",
    [
        "nats://127.0.0.1:4222",
        "nats://h",
        "h",
        "h:4223",
        "tls://user:pass@h:1/",
        "nats://tok@[fd00::1]:4222",
        "nats://a:1,nats://b:2, c:3",
    ],
)
def test_servers_of_nats_are_taken_as_the_library_takes_them(text: str) -> None:
    nats_servers(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://h:4222",
        "https://user:s3cret@h",
        "ws://h",
        "nats:/h:4222",
        "nats://",
        "nats://:4222",
        "nats://h:port",
        "nats://h:70000",
        "nats://h:0",
        "nats://fd00::1:4222",
        "nats://a b",
        "./data",
        "nats://a:1,,nats://b:2",
        "nats://a:1,http://b:2",
    ],
)
def test_what_names_no_server_of_nats_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be nats://HOST:PORT or tls://HOST:PORT") as refused:
        nats_servers(text)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "http://h", "https://user:pass@h:8443/path?query", "http://[fd00::1]:3000"])
def test_addresses_of_the_web_are_taken(text: str) -> None:
    web_address(text)


@pytest.mark.parametrize(
    "text", ["h", "h:3000", "ftp://h", "http://", "http:///path", "http:/h", "http://h:x", "http://h h"]
)
def test_what_is_no_address_of_the_web_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must begin with http:// or https:// and name a host"):
        web_address(text)


@pytest.mark.parametrize("settings", [*SERVICES, UpSettings, CopySettings])
def test_every_program_refuses_a_wrong_scheme_of_nats_as_a_wrong_flag(
    settings: type[CommonSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    others = ["--nats-from=nats://h"] if settings is CopySettings else []
    with pytest.raises(SystemExit) as leaving:
        parse(settings, [*others, "--nats-url=http://s3cret@h:4222"], "program")
    said = "program: --nats-url: should be nats://HOST:PORT or tls://HOST:PORT, not http://; several have commas between them\n"
    assert (leaving.value.code, capsys.readouterr().err) == (2, said)


def test_without_a_server_of_nats_up_starts_one_and_a_service_cannot_run() -> None:
    assert UpSettings(nats_url="").nats_url == ""
    with pytest.raises(SettingsError, match="--nats-url: should be nats://"):
        SchedulerSettings(nats_url="")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (ProxySettings, "public_address"),
        (ProxySettings, "proxy_url"),
        (ProxySettings, "downloads_from_s3"),
        (ProxySettings, "cloud_provider_url"),
        (AutoscalerSettings, "public_address"),
        (AdminSettings, "admin_web_url"),
        (AdminSettings, "admin_oidc_issuer"),
        (UpSettings, "public_address"),
    ],
)
def test_every_flag_that_is_an_address_of_the_web_is_judged(settings: type[CommonSettings], name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(SettingsError, match=f"{flag}: must begin with http:// or https://"):
        settings(**{name: "nats://h"})


@pytest.mark.parametrize("name", [TRACES_ENDPOINT, ANY_ENDPOINT])
@pytest.mark.parametrize("settings", [*SERVICES, UpSettings])
def test_a_collector_that_is_none_is_named_with_the_variable_that_it_stands_in(
    settings: type[CommonSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "collector:4318")
    with pytest.raises(SettingsError, match=f"^{name}: a collector is http://HOST:PORT"):
        settings()
    settings(otlp_endpoint="http://h:4318")


def test_records_are_copied_from_a_server_or_a_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("data")
    with pytest.raises(
        SettingsError, match="is no data directory of a clusterodm up; a server should be nats://"
    ) as wrong:
        CopySettings(nats_from=f"http://s3cret@{folder}")
    assert "s3cret" not in str(wrong.value)
    with pytest.raises(SettingsError, match="no data directory"):
        CopySettings(nats_from=str(folder))
    (folder / "nats").mkdir()
    assert CopySettings(nats_from=str(folder)).nats_from == str(folder)
