"""What goes into the image with docker-machine: what its checksum is right of, and nothing else."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from clusterodm.deploy.docker_machine import gathered, main, of_sources, programs_in, source, sums
from clusterodm.libs.common.errors import Refused

SUM = "a" * 64


def tar(**members: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.replace("_", "-"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(name, content)
    return written.getvalue()


def folder_of(folder: Path, **files: str) -> Path:
    """A folder with these files, and the checksums of all of them."""
    contents = {name.replace("_", "-"): text for name, text in files.items()}
    for name, text in contents.items():
        (folder / name).write_text(text)
    lines = (f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in contents.items())
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


@pytest.fixture
def into(tmp_path: Path) -> Path:
    made = tmp_path / "bin"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("docker-machine-Linux-x86_64", b"x", [("docker-machine", b"x")]),
        ("docker-machine-driver-hetzner", b"x", [("docker-machine-driver-hetzner", b"x")]),
        (
            "docker-machine-driver-hetzner_2.0.1_linux_amd64.tar.gz",
            tar(README=b"-", docker_machine_driver_hetzner=b"y"),
            [("docker-machine-driver-hetzner", b"y")],
        ),
        ("driver.zip", zipped("x/docker-machine-driver-scaleway", b"z"), [("docker-machine-driver-scaleway", b"z")]),
    ],
    ids=["program", "driver", "tar", "zip"],
)
def test_programs_are_found_as_they_are_published(file: str, content: bytes, found: list):
    assert programs_in(file, content) == found


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("driver.tar.gz", tar(README=b"-"), "has no docker-machine"),
        ("driver.tar.gz", b"<html>", "no archive"),
        ("driver.zip", b"<html>", "no archive"),
        ("kubectl", b"x", "has no docker-machine"),
    ],
    ids=["no program in it", "no tar", "no zip", "another program"],
)
def test_what_holds_no_program_is_refused(file: str, content: bytes, why: str):
    with pytest.raises(Refused, match=why):
        programs_in(file, content)


@pytest.mark.parametrize(
    "word",
    ["https://x.org/docker-machine", f"file:///docker-machine#sha256={SUM}", f"https://x.org/dm#sha256={SUM[1:]}", ""],
)
def test_a_url_without_its_checksum_is_refused(word: str):
    with pytest.raises(Refused, match="sha256=HEX"):
        source(word)


def test_checksums_are_read_as_sha256sum_writes_them():
    assert sums(f"{SUM}  ./one\n{SUM.upper()} *two\n\n") == {"one": SUM, "two": SUM}
    for wrong in ("abc  one", f"{SUM}", f"{SUM}  ../one"):
        with pytest.raises(Refused, match="no line of sha256sum"):
            sums(wrong)


def test_what_comes_from_elsewhere_is_held_to_its_checksum():
    right = hashlib.sha256(b"x").hexdigest()
    words = [source(f"https://x.org/v0.16.2/docker-machine-Linux-x86_64#sha256={right}")]
    assert list(of_sources(words, lambda _url: b"x")) == [("docker-machine-Linux-x86_64", b"x")]
    with pytest.raises(Refused, match=f"has the checksum .*, expected {right}"):
        list(of_sources(words, lambda _url: b"y"))


def test_a_program_that_is_given_twice_and_drivers_alone_are_refused():
    with pytest.raises(Refused, match="docker-machine is given twice"):
        gathered([("docker-machine", b"x"), ("docker-machine-Linux-x86_64", b"x")])
    with pytest.raises(Refused, match="no docker-machine among docker-machine-driver-hetzner"):
        gathered([("docker-machine-driver-hetzner", b"x")])


def test_a_folder_becomes_programs_that_everybody_may_run(tmp_path: Path, into: Path):
    folder = folder_of(tmp_path, docker_machine="one", docker_machine_driver_hetzner="two")
    (folder / "README.md").touch()
    assert main([str(folder), str(into)]) == 0
    assert {file.name: file.read_text() for file in into.iterdir()} == {
        "docker-machine": "one",
        "docker-machine-driver-hetzner": "two",
    }
    assert {file.stat().st_mode & 0o777 for file in into.iterdir()} == {0o755}


def test_nothing_is_installed_where_one_is_something_else(
    tmp_path: Path, into: Path, capsys: pytest.CaptureFixture[str]
):
    folder = folder_of(tmp_path, docker_machine="one", docker_machine_driver_hetzner="two")
    (folder / "docker-machine-driver-hetzner").write_text("changed")
    assert main([str(folder), str(into)]) == 2
    assert "docker-machine-driver-hetzner has the checksum" in capsys.readouterr().err
    assert list(into.iterdir()) == []


def test_a_folder_whose_checksums_are_not_complete_is_refused(
    tmp_path: Path, into: Path, capsys: pytest.CaptureFixture[str]
):
    folder = folder_of(tmp_path, docker_machine="one")
    (folder / "docker-machine-driver-linode").touch()
    assert main([str(folder), str(into)]) == 2
    assert "docker-machine-driver-linode has no line in SHA256SUMS" in capsys.readouterr().err
    (folder / "docker-machine-driver-linode").unlink()
    (folder / "docker-machine").unlink()
    assert main([str(folder), str(into)]) == 2
    assert "names docker-machine, which is not there" in capsys.readouterr().err
    (folder / "SHA256SUMS").unlink()
    assert main([str(folder), str(into)]) == 2
    assert "among nothing: give a URL" in capsys.readouterr().err
    assert list(into.iterdir()) == []
