"""Settings of the admin service, and what it says at the start."""

import socket

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.settings.fields import SettingsError
from clusterodm.libs.common.settings.settings import load
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.main import host_names_of, is_loopback, log_access, passwords_of
from clusterodm.services.admin.settings import AdminSettings


def settings(*flags: str) -> AdminSettings:
    return load(AdminSettings, flags, "clusterodm admin")


def test_the_ports_are_the_originals():
    assert (settings().admin_cli_port, settings().admin_web_port) == (8080, 10000)


def test_the_password_comes_by_flag_or_environment_and_never_shows(monkeypatch: pytest.MonkeyPatch):
    assert passwords_of(settings()).by_role == {}
    assert passwords_of(settings("--admin-pass", "s3cret")).by_role == {Role.ADMIN: "s3cret"}
    monkeypatch.setenv("CLUSTERODM_ADMIN_PASS", "from outside")
    assert passwords_of(settings()).by_role == {Role.ADMIN: "from outside"}
    assert "from outside" not in repr(settings())


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        pytest.param(["--admin-bind", "0.0.0.0"], True, id="open to all"),
        pytest.param([], False, id="without a password this machine only"),
        pytest.param(["--admin-pass", "x"], False, id="with a password"),
        pytest.param(["--admin-bind", "127.0.0.1"], False, id="this machine only"),
        pytest.param(["--admin-cli-port", "0", "--admin-web-port", "0"], False, id="both off"),
        pytest.param(["--admin-cli-port", "0", "--admin-bind", "::"], True, id="one off"),
    ],
)
def test_an_open_door_is_mentioned(flags: list[str], warned: bool):
    with capture_logs() as lines:
        log_access(settings(*flags))
    assert [line["log_level"] for line in lines if line["log_level"] == "warning"] == ["warning"] * warned


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        ([], "127.0.0.1"),
        (["--admin-pass", "x"], "0.0.0.0"),
        (["--admin-pass", "x", "--admin-bind", "10.0.0.1"], "10.0.0.1"),
        (["--admin-bind", "0.0.0.0"], "0.0.0.0"),
    ],
)
def test_without_a_password_only_this_computer_is_served_unless_told_otherwise(flags: list[str], address: str):
    assert settings(*flags).admin_address == address


def test_that_only_this_computer_is_served_is_said():
    with capture_logs() as lines:
        log_access(settings())
    assert "--admin-bind" in lines[0]["event"]


def test_the_page_is_known_by_the_names_of_this_computer_and_those_that_are_set():
    known = host_names_of(settings("--admin-web-hosts", "Admin.example:10000, other"))
    assert known >= {"admin.example", "other", socket.gethostname().lower()}


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_recognised(host: str, local: bool):
    assert is_loopback(host) is local


def test_a_port_that_is_taken_is_named_with_its_flag():
    with listen("127.0.0.1", 0, "--x") as taken, pytest.raises(Refused, match=r"--admin-web-port .* in use"):
        listen("127.0.0.1", port_of(taken), "--admin-web-port")


def test_an_address_that_is_none_is_refused():
    with pytest.raises(Refused, match="cannot listen"):
        listen("no such host.invalid", 0, "--admin-web-port")


def test_one_port_for_both_is_said_with_both_flags():
    with pytest.raises(SettingsError, match="--admin-cli-port and --admin-web-port are both port 8080"):
        settings("--admin-cli-port=8080", "--admin-web-port=8080")
    assert settings("--admin-cli-port=0", "--admin-web-port=0").admin_web_port == 0
