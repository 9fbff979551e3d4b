"""What a machine is told to do when it boots."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import DockerRegistry, Launch, S3Target
from clusterodm.services.autoscaler.providers.core.cloud_init import (
    BOOT,
    LEASE,
    LEASE_SCRIPT,
    LEASE_URL,
    LOG,
    OUTPUT_URL,
    PASSWORD,
    REPORT,
    REPORT_URL,
    SETUP,
    TIMER,
    lease_check_s,
    user_data,
)
from clusterodm.services.autoscaler.providers.core.order_words import node_configuration, run_words
from clusterodm.services.autoscaler.providers.core.self_deletion import (
    LEASE_KEY,
    TRIES_COUNT,
    SelfDeletion,
    by_token,
    ending,
)

S3 = S3Target(
    endpoint="nyc3.digitaloceanspaces.com",
    bucket="odm",
    access_key=Secret("AKEY"),
    secret_key=Secret("SKEY"),
    acl="private",
    ignore_ssl=True,
)
PLAIN = Launch(image="opendronemap/nodeodm", token=Secret("ntok"))
FULL = Launch(
    image="registry.example.org/odm/nodeodm:gpu",
    token=Secret("ntok"),
    webhook_url=Secret("https://cluster.example.org/commit?token=hook&x=1"),
    lease_url=Secret("https://cluster.example.org/machine/lease?token=hook"),
    lease_s=900,
    max_images=500,
    gpu=True,
    swap_ratio=1.5,
    data_mount="/mnt/big disk",
    setup_command="mkfs.ext4 /dev/nvme1n1 && echo 'done'",
    registry=DockerRegistry(url="registry.example.org", username="robot", password=Secret("it's secret")),
    s3=S3,
)


def files(launch: Launch, engine_install_url: str = "", deletion: SelfDeletion | None = None) -> dict[str, Any]:
    text = user_data(launch, engine_install_url, deletion)
    head, _, document = text.partition("\n")
    assert head == "#cloud-config"
    return {each["path"]: each for each in json.loads(document)["write_files"]}


RUNS = [
    pytest.param(
        PLAIN,
        "docker run -d -p 3000:3000 opendronemap/nodeodm -q 1 --token ntok",
        id="nothing but an image",
    ),
    pytest.param(
        FULL,
        "docker run -d -p 3000:3000 --mount 'type=bind,source=/mnt/big disk,target=/var/www/data' --gpus all"
        " registry.example.org/odm/nodeodm:gpu -q 1 --max_images 500 --s3_access_key AKEY --s3_secret_key SKEY"
        " --s3_endpoint nyc3.digitaloceanspaces.com --s3_bucket odm --s3_acl private --s3_ignore_ssl"
        " --webhook 'https://cluster.example.org/commit?token=hook&x=1' --token ntok",
        id="everything",
    ),
]


@pytest.mark.parametrize(("launch", "line"), RUNS)
def test_the_node_is_started_with_the_flags_of_nodeodm(launch: Launch, line: str):
    assert shlex.join(run_words(launch)) == line
    assert line in files(launch)[BOOT]["content"].splitlines()


def test_the_configuration_file_of_nodeodm_says_the_same():
    assert node_configuration(FULL) == {
        "port": 3000,
        "parallelQueueProcessing": 1,
        "token": "ntok",
        "maxImages": 500,
        "webhook": "https://cluster.example.org/commit?token=hook&x=1",
        "s3AccessKey": "AKEY",
        "s3SecretKey": "SKEY",
        "s3Endpoint": "nyc3.digitaloceanspaces.com",
        "s3Bucket": "odm",
        "s3IgnoreSSL": True,
        "s3_acl": "private",
    }


def test_a_machine_boots_in_the_order_that_keeps_it_from_outliving_its_use():
    script = files(FULL, "https://example.org/docker.sh")[BOOT]["content"]
    steps = ["clusterodm-lease.timer", "mkswap", "https://example.org/docker.sh", SETUP, "docker login", "docker pull"]
    places = [script.index(step) for step in [*steps, "docker run"]]
    assert places == sorted(places)


def test_nobody_gets_onto_a_machine_by_a_password():
    assert json.loads(user_data(PLAIN).partition("\n")[2])["ssh_pwauth"] is False


def test_what_is_not_wanted_is_not_done():
    found = files(PLAIN)
    script = found[BOOT]["content"]
    assert list(found) == [BOOT]
    for word in ("lease", "mkswap", "docker login", SETUP):
        assert word not in script
    assert "https://get.docker.com" in script


def test_an_install_script_that_is_quoted_twice_is_read_all_the_same():
    quoted = '"https://releases.rancher.com/install-docker/19.03.9.sh"'
    assert "fetch https://releases.rancher.com/install-docker/19.03.9.sh " in files(PLAIN, quoted)[BOOT]["content"]


def test_every_file_that_holds_a_secret_is_for_root_alone():
    for path, each in files(FULL).items():
        secret = any(word in each["content"] for word in ("ntok", "SKEY", "hook", "it's secret"))
        assert not secret or each["permissions"] in {"0600", "0700"}, path
        assert each["owner"] == "root:root"


def test_the_registry_password_is_no_word_of_a_command():
    found = files(FULL)
    assert found[PASSWORD]["content"] == "it's secret"
    assert "secret" not in found[BOOT]["content"].replace("--s3_secret_key", "")
    assert f"--password-stdin registry.example.org <{PASSWORD}" in found[BOOT]["content"]


def test_the_set_up_command_stands_in_its_own_script_as_it_was_written():
    assert files(FULL)[SETUP]["content"] == "mkfs.ext4 /dev/nvme1n1 && echo 'done'\n"


def test_the_user_data_fits_the_narrowest_cloud():
    assert len(user_data(FULL).encode()) < 16 * 1024  # EC2


def test_the_scripts_are_sound_shell():
    for path, each in files(FULL).items():
        if each["permissions"] == "0700":
            checked = subprocess.run(["bash", "-n"], input=each["content"].encode(), check=False, capture_output=True)
            assert checked.returncode == 0, (path, checked.stderr)


@pytest.mark.parametrize(
    ("lease_s", "check_s"),
    [pytest.param(900, 60, id="long"), pytest.param(120, 30, id="short"), pytest.param(20, 15, id="very short")],
)
def test_the_machine_asks_several_times_before_it_takes_itself_for_unwanted(lease_s: int, check_s: int):
    assert lease_check_s(lease_s) == check_s
    assert f"OnUnitActiveSec={lease_check_s(900)}" in files(FULL)[TIMER]["content"]


class Cluster:
    """Answers a machine's question with a status."""

    def __init__(self) -> None:
        self.status = 200
        self.told: list[tuple[str, str]] = []
        self.awaited, self.heard = "", Path()
        """When this is said, there is this file."""
        self.deleted: list[tuple[str, str | None]] = []
        self.delete_status = 204
        cluster = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(cluster.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                cluster.told.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
                if cluster.awaited and cluster.awaited in cluster.told[-1][1]:
                    cluster.heard.touch()
                self.do_GET()

            def do_DELETE(self) -> None:
                cluster.deleted.append((self.path, self.headers["Authorization"]))
                self.send_response(cluster.delete_status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_what: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.close()


class Rented:
    """A machine: its uptime, and whether it has been turned off."""

    def __init__(self, folder: Path, url: str, without: str = "", deletion: SelfDeletion | None = None) -> None:
        self.folder = folder
        (folder / "url").write_text(url)
        script = folder / "lease.sh"
        script.write_text(LEASE_SCRIPT.format(lease_s=600, url_file=LEASE_URL, end=ending(deletion)))
        (folder / "token").write_text("delete-only")
        off = folder / "bin" / "poweroff"
        off.parent.mkdir()
        off.write_text(f"#!/bin/sh\ntouch {folder}/off\n")
        off.chmod(off.stat().st_mode | stat.S_IXUSR)
        self.path = f"{off.parent}:{self.without(without) if without else os.environ['PATH']}"

    def without(self, program: str) -> str:
        """A PATH on which a program is not to be found."""
        links = self.folder / "programs"
        links.mkdir()
        for folder in ("/usr/bin", "/bin"):
            for each in Path(folder).iterdir():
                if each.name != program and not (links / each.name).exists():
                    (links / each.name).symlink_to(each)
        return str(links)

    def asks(self, uptime_s: float) -> bool:
        """Let the timer fire; whether the machine is still on."""
        (self.folder / "uptime").write_text(f"{uptime_s} 123.45\n")
        environment = {
            "PATH": self.path,
            "CLUSTERODM_LEASE_SEEN": str(self.folder / "seen"),
            "CLUSTERODM_LEASE_URL": str(self.folder / "url"),
            "CLUSTERODM_UPTIME": str(self.folder / "uptime"),
            "CLUSTERODM_LEASE_TOKEN": str(self.folder / "token"),
        }
        subprocess.run(["/bin/sh", self.folder / "lease.sh"], env=environment, check=True, timeout=30)
        return not (self.folder / "off").exists()


@pytest.mark.parametrize("without", [pytest.param("", id="curl"), pytest.param("curl", id="wget")])
@pytest.mark.parametrize(
    "status", [pytest.param(410, id="gone"), pytest.param(503, id="trouble"), pytest.param(302, id="redirect")]
)
def test_a_machine_that_nobody_wants_turns_itself_off(cluster: Cluster, tmp_path: Path, status: int, without: str):
    if without and not any(Path(folder, "wget").exists() for folder in ("/usr/bin", "/bin")):
        pytest.skip("this computer has no wget")
    machine = Rented(tmp_path, f"http://127.0.0.1:{cluster.server.server_port}/lease?token=x", without)
    assert machine.asks(10.7)
    assert machine.asks(70.1)
    cluster.status = status
    assert machine.asks(130.0)
    assert machine.asks(669.9)
    assert not machine.asks(670.5)


def deleting(cluster: Cluster, folder: Path) -> Rented:
    """A machine that can delete itself: the cluster plays its cloud, too."""
    (folder / "number").write_text("4711")
    api = f"http://127.0.0.1:{cluster.server.server_port}"
    deletion = by_token(f"file://{folder}/number", f"{api}/v2/droplets", Secret("delete-only"))
    return Rented(folder, f"{api}/lease?token=x", deletion=deletion)


def test_a_machine_with_a_token_for_that_deletes_itself_and_is_not_turned_off(cluster: Cluster, tmp_path: Path):
    machine = deleting(cluster, tmp_path)
    assert machine.asks(10.0)
    cluster.status = 410
    assert machine.asks(600.0)
    assert cluster.deleted == []
    assert machine.asks(611.0)
    assert cluster.deleted == [("/v2/droplets/4711", "Bearer delete-only")]


@pytest.mark.parametrize("broken", ["api", "metadata"])
def test_a_machine_that_cannot_delete_itself_tries_again_and_turns_itself_off_in_the_end(
    cluster: Cluster, tmp_path: Path, broken: str
):
    machine = deleting(cluster, tmp_path)
    assert machine.asks(10.0)
    cluster.status, cluster.delete_status = 410, 401
    if broken == "metadata":
        (tmp_path / "number").unlink()
    assert machine.asks(611.0)
    (tmp_path / "seen-tries").write_text(f"{TRIES_COUNT - 1}\n")
    assert [machine.asks(612.0), machine.asks(613.0)] == [True, False]
    assert len(cluster.deleted) == (3 if broken == "api" else 0)


def test_the_token_for_the_end_lies_in_a_file_that_only_root_reads():
    deletion = by_token("http://169.254.169.254/id", "https://api/x", Secret("delete-only"))
    found = files(FULL, "", deletion)
    assert (found[LEASE_KEY]["permissions"], found[LEASE_KEY]["content"]) == ("0600", "delete-only")
    assert not any("delete-only" in each["content"] for path, each in found.items() if path != LEASE_KEY)
    assert LEASE_KEY not in files(PLAIN, "", deletion)
    assert LEASE_KEY not in files(FULL)


def test_a_machine_that_is_wanted_stays_on_however_long_it_runs(cluster: Cluster, tmp_path: Path):
    machine = Rented(tmp_path, f"http://127.0.0.1:{cluster.server.server_port}/lease?token=x")
    assert machine.asks(5.0)
    assert machine.asks(100_000.0)
    cluster.status = 500
    assert machine.asks(100_300.0)
    cluster.status = 200
    assert machine.asks(100_590.0)
    cluster.status = 500
    assert machine.asks(101_100.0)


def test_a_cluster_that_cannot_be_reached_counts_as_not_wanting(tmp_path: Path):
    machine = Rented(tmp_path, "http://127.0.0.1:9/lease")
    assert machine.asks(10.0)
    assert machine.asks(60.0)
    assert not machine.asks(611.0)


def test_the_lease_script_reads_its_address_from_a_file_that_only_root_reads():
    found = files(FULL)
    assert found[LEASE_URL]["permissions"] == "0600"
    assert found[LEASE_URL]["content"] == "https://cluster.example.org/machine/lease?token=hook"
    assert "hook" not in found[LEASE]["content"]


def test_a_node_runs_as_many_tasks_at_a_time_as_its_size_says():
    several = replace(FULL, tasks_at_once_count=3)
    assert "-q 3" in shlex.join(run_words(several))
    assert node_configuration(several)["parallelQueueProcessing"] == 3


def booted(cluster: Cluster, folder: Path, steps: str, path: str = os.environ["PATH"]) -> int:
    """Run a boot script with these steps; its exit code."""
    for name in ("log", "output"):
        (folder / name).write_text(f"http://127.0.0.1:{cluster.server.server_port}/machine/boot-{name}?token=s3cret")
    script, whole = folder / "boot.sh", folder / "cloud-init.log"
    files = {"url_file": folder / "log", "output_file": folder / "output", "output": whole}
    script.write_text(
        REPORT.format(log=folder / "boot.log", every_s=0.1, **files).replace("sleep 1", "sleep 0.3") + steps
    )
    ran = subprocess.run(["bash", script], env={"PATH": path}, capture_output=True, text=True, timeout=30, check=False)
    assert "s3cret" not in ran.stdout + ran.stderr
    return ran.returncode


WITH_AND_WITHOUT_CURL = pytest.mark.parametrize(
    "without",
    [
        pytest.param("", id="curl"),
        pytest.param(
            "curl", id="wget", marks=pytest.mark.skipif(not shutil.which("wget"), reason="this computer has no wget")
        ),
    ],
)


@WITH_AND_WITHOUT_CURL
def test_a_boot_that_fails_sends_its_last_words_home(cluster: Cluster, tmp_path: Path, without: str):
    path = Rented(tmp_path, "http://127.0.0.1:9", without).path
    steps = "head -c 100000 /dev/zero | tr '\\0' x; echo\necho 'E: no such package' >&2\nexit 7\n"
    assert booted(cluster, tmp_path, steps, path) == 7
    *output, (where, said) = cluster.told
    assert where == "/machine/boot-log?token=s3cret"
    assert said.splitlines()[-2:] == ["E: no such package", "ended with code 7"]
    assert len(said) < 2000
    assert {where.partition("?")[0] for where, _ in output} == {"/machine/boot-output"}
    assert output[-1][1].splitlines()[-1] == "ended with code 7"
    assert stat.S_IMODE((tmp_path / "boot.log").stat().st_mode) == 0o600


@WITH_AND_WITHOUT_CURL
def test_a_machine_tells_what_it_says_while_it_boots(cluster: Cluster, tmp_path: Path, without: str):
    path = Rented(tmp_path, "http://127.0.0.1:9", without).path
    cluster.awaited, cluster.heard = "line 500\n", tmp_path / "heard"
    wait = f"until [ -e {cluster.heard} ]; do sleep 0.1; done"
    steps = f"echo \"$(seq -f 'line %g' 500)\"; {wait}; echo and the last\n"
    assert booted(cluster, tmp_path, steps, path) == 0
    assert {where.partition("?")[0] for where, _ in cluster.told} == {"/machine/boot-output"}, "no failure"
    while_booting = next(said for where, said in cluster.told if where.endswith("?token=s3cret&from_line=150"))
    assert while_booting.splitlines()[::349] == ["line 151", "line 500"]
    at_the_end, late = cluster.told[-1]
    assert at_the_end == "/machine/boot-output?token=s3cret&from_line=152"
    assert late.splitlines()[-3:] == ["line 500", "and the last", "ended with code 0"]
    said = [said for _, said in cluster.told]
    assert len(said) - len(set(said)) <= 1, "it tells only what is new, and all of it at the end"


def test_a_machine_tells_all_that_cloud_init_has_said(cluster: Cluster, tmp_path: Path):
    (tmp_path / "cloud-init.log").write_text("Cloud-init v. 25.1\n" + "y" * 40_000 + "\n")
    assert booted(cluster, tmp_path, "echo fine\n") == 0
    where, said = cluster.told[-1]
    assert where == "/machine/boot-output?token=s3cret&from_line=1"
    assert len(said) == 30_000


def test_the_address_for_last_words_lies_in_a_file_that_only_root_reads():
    told = replace(
        PLAIN,
        report_url=Secret("https://cluster.example.org/machine/boot-log?token=hook"),
        output_url=Secret("https://cluster.example.org/machine/boot-output?token=hook"),
    )
    found = files(told)
    assert (found[REPORT_URL]["permissions"], found[REPORT_URL]["content"]) == ("0600", told.report_url.reveal())
    assert (found[OUTPUT_URL]["permissions"], found[OUTPUT_URL]["content"]) == ("0600", told.output_url.reveal())
    assert "hook" not in found[BOOT]["content"]
    assert "trap report EXIT" in found[BOOT]["content"]
    assert LOG in found[BOOT]["content"]
    assert REPORT_URL not in files(PLAIN)
