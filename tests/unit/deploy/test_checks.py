"""What cannot work is said before anything starts."""

import socket
from pathlib import Path

import pytest

from clusterodm.deploy import checks, demo
from clusterodm.deploy.checks import files_usable, free_port, ports_free
from clusterodm.deploy.datadir import prepare, write_private
from clusterodm.deploy.nats import configuration, remembered_port, remembered_token
from clusterodm.libs.common.errors import Refused


def test_ports_that_are_off_or_free_pass():
    ports_free([("--port", "127.0.0.1", free_port()), ("--admin-cli-port", "127.0.0.1", 0)])


def test_a_taken_port_is_refused_with_its_flag():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"port {port} \(--port\) is in use"):
            ports_free([("--port", "0.0.0.0", port)])


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(Refused, match=r"on 192\.0\.2\.1"):
        ports_free([("--port", "192.0.2.1", free_port())])


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        pytest.param("127.0.0.1", 65_536, "0-65535", id="of several processes, the last one's"),
        pytest.param("a..b", 3000, "no such address", id="a name that cannot be one"),
    ],
)
def test_what_cannot_be_listened_on_is_one_line(host: str, port: int, reason: str):
    with pytest.raises(Refused, match=rf"port {port} \(--metrics-port\) on {host}: .*{reason}"):
        ports_free([("--metrics-port", host, port)])


@pytest.mark.parametrize(
    ("named", "told"),
    [
        pytest.param("none", "No such file or directory", id="not there"),
        pytest.param("file/below", "Not a directory", id="in a file"),
        pytest.param("loop", "Too many levels of symbolic links", id="a link in a circle"),
        pytest.param("folder", "Is a directory", id="a directory"),
        pytest.param("a\0b", "embedded null byte", id="no name of a file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_flag(tmp_path: Path, named: str, told: str):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    files_usable([("--asr", f"{tmp_path}/file"), ("--asr", "/dev/null")], [], tmp_path)
    with pytest.raises(Refused) as refused:
        files_usable([("--asr", f"{tmp_path}/file"), ("--tokens", f"{tmp_path}/{named}")], [], tmp_path)
    assert refused.value.message == f"--tokens {tmp_path}/{named}: {told}"


@pytest.mark.parametrize("named", ["file", "new", "link", "data/new", "data/../data/new"])
def test_a_file_that_can_be_made_passes(tmp_path: Path, named: str):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("new")
    files_usable([], [("--access-log", f"{tmp_path}/{named}")], tmp_path / "data")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


@pytest.mark.parametrize(
    ("named", "told"),
    [
        pytest.param("none/new", "No such file or directory", id="in no directory"),
        pytest.param("data/none/new", "No such file or directory", id="deep in the data directory"),
        pytest.param("file/new", "Not a directory", id="in a file"),
        pytest.param("folder", "Is a directory", id="a directory"),
        pytest.param("loop", "Too many levels of symbolic links", id="a link in a circle"),
        pytest.param("link", "No such file or directory", id="a link into no directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_with_its_flag(tmp_path: Path, named: str, told: str):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("none/new")
    with pytest.raises(Refused) as refused:
        files_usable([], [("--access-log", f"{tmp_path}/{named}")], tmp_path / "data")
    assert refused.value.message == f"--access-log {tmp_path}/{named}: {told}"


def test_a_preferred_port_is_kept_while_it_is_free():
    port = free_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) != port


def test_no_outgoing_connection_is_given_a_port_that_was_found():
    """Else a simulated node, or nats-server, finds its port taken when the cluster starts again."""
    kernel = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(kernel.read_text().split()[0]) if kernel.exists() else checks.LASTING_PORTS.stop
    assert max(free_port() for _ in range(100)) < lowest


def test_a_port_that_is_held_is_found_by_nobody_else(monkeypatch: pytest.MonkeyPatch):
    with checks.HeldPorts() as ports:
        held = ports.free_port()
        monkeypatch.setattr(checks, "LASTING_PORTS", (held,))
        assert free_port() != held


def test_where_no_port_lasts_the_kernel_chooses(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(checks, "LASTING_PORTS", (port,))
        assert free_port() not in (0, port)


def test_an_address_of_another_machine_has_no_free_port():
    with pytest.raises(Refused, match=r"no port of 192\.0\.2\.1 is free"):
        free_port(host="192.0.2.1")


def test_a_file_in_the_place_of_the_data_directory_is_refused(tmp_path: Path):
    (tmp_path / "data").write_text("")
    with pytest.raises(Refused, match="choose another with --data-dir"):
        prepare(tmp_path / "data")


def test_private_files_are_for_their_owner_only(tmp_path: Path):
    for text in ("first", "second"):
        write_private(tmp_path / "token", text)
    assert (tmp_path / "token").read_text() == "second"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_the_token_and_the_port_of_nats_are_remembered(tmp_path: Path):
    token = remembered_token(tmp_path)
    assert len(token) >= 32
    assert remembered_token(tmp_path) == token
    assert remembered_port(tmp_path) == 0
    written = configuration(tmp_path, 4333, 8333)
    assert remembered_port(tmp_path) == 4333
    assert "sync_interval: always" in written
    assert 'listen: "127.0.0.1:4333"' in written
    assert 'http: "127.0.0.1:8333"' in written


def test_a_token_that_a_power_cut_has_left_empty_is_made_anew(tmp_path: Path):
    """The passwords of all users of NATS follow from it: those of an empty one are known to everybody."""
    (tmp_path / "token").write_text("")
    token = remembered_token(tmp_path)
    assert len(token) >= 32
    assert remembered_token(tmp_path) == token


@pytest.mark.parametrize("text", ["", "[4001,", '{"node-1": 4001}', '["4001"]', "[70000, true]", "\0\0\0\0"])
def test_ports_that_cannot_be_read_are_chosen_anew(text: str, tmp_path: Path):
    (tmp_path / "ports.json").write_text(text)
    chosen, gone = demo.ports(tmp_path, 2)
    assert (len(set(chosen)), gone) == (2, [])
    assert demo.ports(tmp_path, 2) == (chosen, [])


def test_simulated_nodes_keep_their_ports_and_name_those_that_are_gone(tmp_path: Path):
    first, gone = demo.ports(tmp_path, 3)
    assert (len(set(first)), gone) == (3, [])
    assert demo.ports(tmp_path, 3) == (first, [])
    assert demo.ports(tmp_path, 2) == (first[:2], first[2:])
    with socket.create_server(("127.0.0.1", first[0])):
        second, gone = demo.ports(tmp_path, 2)
    assert second[1] == first[1]
    assert gone == first[:1]
