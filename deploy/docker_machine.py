"""Installs docker-machine and its drivers into an image: `python -m clusterodm.deploy.docker_machine FOLDER INTO [URL#sha256=HEX ...]`.

FOLDER holds programs, or archives of them, and a file SHA256SUMS with a line for each (`sha256sum docker-machine* > SHA256SUMS`).
What has no checksum or another one is refused, and nothing is written before everything is found to be right.
"""

import hashlib
import io
import re
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.exit_codes import EXIT_USAGE

PROGRAM: Final = re.compile(r"docker-machine(-driver-[a-z0-9]+)?")
PUBLISHED: Final = re.compile(rf"({PROGRAM.pattern})([-_.].*)?")
"""As releases call them: docker-machine-Linux-x86_64, docker-machine-driver-hetzner_2.0.1_linux_amd64.tar.gz."""
SUMS: Final = "SHA256SUMS"
SUM: Final = re.compile(r"[0-9a-f]{64}")
SOURCE: Final = re.compile(r"(https?://\S+/([^/\s?#]+))#sha256=([0-9a-fA-F]{64})")
LONGEST_ANSWER_S: Final = 60.0
MOST_BYTES: Final = 200 << 20
"""Of one file; docker-machine has 27 MB."""


@dataclass(frozen=True)
class PublishedFile:
    """A file that is to be had somewhere, and what it has to be."""

    url: str
    file: str
    sha256: str


def main(argv: Sequence[str]) -> int:
    """Install; the exit code."""
    if len(argv) < 2:  # noqa: PLR2004 the folder, and where to
        return said("usage: python -m clusterodm.deploy.docker_machine FOLDER INTO [URL#sha256=HEX ...]")
    folder, into, *words = argv
    try:
        sources = [source(word) for word in words]
        programs = gathered([*of_folder(Path(folder)), *of_sources(sources, download)])
    except (Refused, OSError) as error:
        return said(error.message if isinstance(error, Refused) else str(error))
    for name, content in programs.items():
        path = Path(into, name)
        path.write_bytes(content)
        path.chmod(0o755)
        print(f"{path} sha256={hashlib.sha256(content).hexdigest()}")  # noqa: T201 for whoever reads the build
    return 0


def said(words: str) -> int:
    """Say what is wrong; the exit code."""
    print(f"docker-machine: {words}", file=sys.stderr)  # noqa: T201 the program's output
    return EXIT_USAGE


def source(word: str) -> PublishedFile:
    """Read `URL#sha256=HEX`. Raises Refused."""
    found = SOURCE.fullmatch(word)
    if found is None:
        raise Refused(f"{word!r} is no https://…/FILE#sha256=HEX (64 digits)")
    url, file, sha256 = found.groups()
    return PublishedFile(url, file, sha256.lower())


def sums(text: str) -> dict[str, str]:
    """Read what `sha256sum` writes: by file. Raises Refused."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        sha256, _, file = line.partition(" ")
        name = file.lstrip(" *").removeprefix("./")
        if not SUM.fullmatch(sha256.lower()) or not name or "/" in name:
            raise Refused(f"{SUMS}: {line!r} is no line of sha256sum")
        found[name] = sha256.lower()
    return found


def of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Read the files of a folder that its SHA256SUMS names. Raises Refused; OSError where one cannot be read."""
    named = sums((folder / SUMS).read_text()) if (folder / SUMS).exists() else {}
    there = {file.name for file in folder.iterdir() if PUBLISHED.fullmatch(file.name) and file.is_file()}
    if unnamed := sorted(there - named.keys()):
        raise Refused(f"{unnamed[0]} has no line in {SUMS}")
    for file, sha256 in named.items():
        if file not in there:
            raise Refused(f"{SUMS} names {file}, which is not there, or is no docker-machine and no driver of it")
        yield file, checked(file, (folder / file).read_bytes(), sha256)


def of_sources(sources: Sequence[PublishedFile], load: Callable[[str], bytes]) -> Iterator[tuple[str, bytes]]:
    """Load files from where they are published. Raises Refused; OSError where one is not to be had."""
    for each in sources:
        yield each.file, checked(each.file, load(each.url), each.sha256)


def checked(file: str, content: bytes, sha256: str) -> bytes:
    """Refuse what is something else."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise Refused(f"{file} has the checksum {found}, expected {sha256}: nothing is installed")
    return content


def gathered(files: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """Say which programs these files are: by name. Raises Refused."""
    programs: dict[str, bytes] = {}
    for file, content in files:
        for name, program in programs_in(file, content):
            if name in programs:
                raise Refused(f"{name} is given twice")
            programs[name] = program
    if "docker-machine" not in programs:
        raise Refused(
            f"there is no docker-machine among {', '.join(programs) or 'nothing'}: give a URL, or a folder with {SUMS}"
        )
    return programs


def programs_in(file: str, content: bytes) -> list[tuple[str, bytes]]:
    """Find the programs in an archive, or the one that the file is: name and content. Raises Refused."""
    try:
        if file.endswith((".tar.gz", ".tgz")):
            found = list(of_tar(content))
        elif file.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = {name: Path(name).name for name in archive.namelist()}
                found = [(name, archive.read(path)) for path, name in names.items() if PROGRAM.fullmatch(name)]
        elif name := PUBLISHED.fullmatch(file):
            return [(name[1], content)]
        else:
            found = []
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise Refused(f"{file} is no archive: {error}") from None
    if not found:
        raise Refused(f"{file} is and has no docker-machine and no driver of it")
    return found


def of_tar(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Find the programs in a compressed tar."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            name, opened = Path(member.name).name, archive.extractfile(member) if member.isfile() else None
            if opened is not None and PROGRAM.fullmatch(name):
                yield name, opened.read()


def download(url: str) -> bytes:
    """Load a file. Raises OSError, and Refused where it is too long."""
    with urllib.request.urlopen(url, timeout=LONGEST_ANSWER_S) as answer:  # noqa: S310 https? only, see SOURCE
        content: bytes = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise Refused(f"{url} has more than {MOST_BYTES >> 20} MB")
    return content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
