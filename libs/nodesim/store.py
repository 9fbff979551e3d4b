"""The files of a node: uploads under `tmp/`, tasks under `data/`, as NodeODM lays them out.

    tmp/<uuid>/body.json      the fields of an initialised task, beside its uploads
    data/<uuid>/images, gcp   the files of a committed task
    data/<uuid>/all.zip       its result
    data/tasks.json           written on a clean stop only: after a crash tasks are forgotten

A second file of one name becomes `IMG_.JPG`; there is no way to replace or
delete an upload. Two files of one name in one request meet in one file: the
name is chosen before the first is on disk (NodeODM races here, this does not).
"""

import contextlib
import hashlib
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec

BODY: Final = "body.json"
SEED: Final = "seed.zip"
DOWNLOADED: Final = "zipurl.zip"
GCP: Final = re.compile(r"\.txt\Z|\Aalign\.(las|laz|tif)\Z", re.IGNORECASE)
UUID_LIKE: Final = re.compile(r"\w+-\w+-\w+-\w+-\w+\Z")
NOT_FOUND: Final = "Invalid uuid (not found)"
LONGEST_NAME_BYTES: Final = 255


class StoreError(Exception):
    """Files are not as they must be; the message is NodeODM's."""


class Received:
    """A file being written to disk as it comes in."""

    def __init__(self, path: Path, *, hashed: bool) -> None:
        self.path = path
        self.size_bytes = 0
        self.complete = False
        self._file = path.open("wb", buffering=0)
        self._hash = hashlib.sha256() if hashed else None

    def write(self, data: bytes | memoryview) -> None:
        """Append to the file."""
        self._file.write(data)
        self.size_bytes += len(data)
        if self._hash:
            self._hash.update(data)

    def close(self, *, complete: bool) -> None:
        """No more comes; an incomplete file stays as it is."""
        self._file.close()
        self.complete = complete

    def discard(self) -> None:
        """Remove the file again."""
        self.path.unlink(missing_ok=True)

    def sha256(self) -> str | None:
        """Hash of what came, when it was asked for."""
        return self._hash.hexdigest() if self._hash else None


class Store:
    """All files below one directory."""

    def __init__(self, root: Path) -> None:
        self.uploads = root / "tmp"
        self.data = root / "data"
        self.uploads.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(exist_ok=True)

    def begin(self, uuid: str, body: dict[str, str]) -> None:
        """Make room for uploads; again with the same uuid only the fields are new."""
        (self.uploads / uuid).mkdir(exist_ok=True)
        (self.uploads / uuid / BODY).write_bytes(msgspec.json.encode(body))

    def check_begun(self, uuid: str) -> None:
        """See that uploads are expected. Raises: StoreError."""
        if not (self.uploads / uuid / BODY).exists():
            raise StoreError(NOT_FOUND)

    def receive(self, uuid: str, name: str, *, hashed: bool) -> Received:
        """Open a new file among the uploads, under a free name. Raises: StoreError."""
        folder = self.uploads / uuid
        folder.mkdir(exist_ok=True)
        if len(name.encode()) > LONGEST_NAME_BYTES or "\0" in name:
            raise StoreError(f"ENAMETOOLONG: name too long, open 'tmp/{uuid}/{name}'")
        return Received(folder / free_name(folder, "_body.json" if name == BODY else name), hashed=hashed)

    def take_body(self, uuid: str) -> dict[str, str]:
        """End the uploads: the fields, which are gone afterwards. Raises: StoreError."""
        self.check_begun(uuid)
        path = self.uploads / uuid / BODY
        body = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        path.unlink()
        return body

    def uploaded_count(self, uuid: str) -> int:
        """How many files lie among the uploads."""
        with contextlib.suppress(OSError):
            return len(list((self.uploads / uuid).iterdir()))
        return 0

    def drop_upload(self, uuid: str) -> None:
        """Remove the uploads of a task."""
        shutil.rmtree(self.uploads / uuid, ignore_errors=True)

    def stale_uploads(self, before_s: float) -> list[str]:
        """List the uploads that nothing was added to since a time (seconds since 1970)."""
        folders = [folder for folder in self.uploads.iterdir() if UUID_LIKE.match(folder.name)]
        return [folder.name for folder in folders if folder.stat().st_ctime < before_s]

    def zip_target(self, uuid: str) -> Path:
        """Where to put a zip that the node downloads itself."""
        (self.uploads / uuid).mkdir(exist_ok=True)
        return self.uploads / uuid / DOWNLOADED

    def project(self, uuid: str) -> Path:
        """Folder of a committed task."""
        return self.data / uuid

    def prepare(self, uuid: str, max_images: int) -> int:
        """Turn uploads into a project: move, unpack, sort out; returns the number of images.

        Raises: StoreError, and then nothing of the task is left.
        """
        try:
            return self._prepare(self.project(uuid), self.uploads / uuid, max_images)
        except StoreError:
            self.drop_upload(uuid)
            self.remove(uuid)
            raise

    def _prepare(self, project: Path, uploads: Path, max_images: int) -> int:
        shutil.rmtree(project, ignore_errors=True)
        images, gcp = project / "images", project / "gcp"
        gcp.mkdir(parents=True)
        uploads.rename(images)
        if (images / DOWNLOADED).exists():
            unpack(images / DOWNLOADED, images, flat=True)
        if (images / SEED).exists():
            (images / SEED).rename(project / SEED)
            unpack(project / SEED, project, flat=False)
            (project / SEED).unlink()
        count = sum(1 for _ in images.iterdir())  # the archive that was unpacked too, as NodeODM
        if max_images and count > max_images:
            raise StoreError(too_many(count, max_images))
        for path in list(images.iterdir()):
            if GCP.search(path.name):
                path.rename(gcp / path.name)
            elif path.name.lower().endswith(".zip"):
                path.unlink()
        return sum(1 for _ in images.iterdir())

    def remove(self, uuid: str) -> None:
        """Delete a task's files."""
        shutil.rmtree(self.project(uuid), ignore_errors=True)

    def save_tasks(self, tasks: list[dict[str, Any]]) -> None:
        """Remember the tasks for the next start."""
        (self.data / "tasks.json").write_bytes(msgspec.json.encode(tasks))

    def saved_tasks(self) -> list[dict[str, Any]]:
        """Tasks remembered whose files are still there; folders of all others are deleted."""
        saved: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, msgspec.DecodeError):
            saved = msgspec.json.decode((self.data / "tasks.json").read_bytes(), type=list[dict[str, Any]])
        known = [task for task in saved if (self.project(task["uuid"]) / "images").is_dir()]
        self._remove_orphans({task["uuid"] for task in known})
        return known

    def forget(self) -> None:
        """Delete everything, as after a crash with a lost disk."""
        for folder in (self.uploads, self.data):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def _remove_orphans(self, known: set[str]) -> None:
        for folder in self.data.iterdir():
            if folder.is_dir() and UUID_LIKE.match(folder.name) and folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)


def too_many(count: int, max_images: int) -> str:
    """NodeODM's words for a dataset that is too large for it."""
    return f"{count} images uploaded, but this node can only process up to {max_images}."


def free_name(folder: Path, name: str) -> str:
    """First of `IMG.JPG`, `IMG_.JPG`, `IMG__.JPG` … that is free; `noext`, `noext_` … without a dot."""
    while (folder / name).exists():
        stem, dot, extension = name.rpartition(".")
        name = f"{stem}_.{extension}" if dot else f"{name}_"
    return name


def unpack(archive: Path, folder: Path, *, flat: bool) -> None:
    """Unpack a zip, without its folders when flat. Raises: StoreError with the words for `unzip`'s exit code."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _extract(opened, member, folder, flat=flat)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError):
        raise StoreError("Could not extract .zip file, unzip exited with code 9") from None


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, *, flat: bool) -> None:
    if not flat:
        opened.extract(member, folder)
    elif not member.is_dir():
        with opened.open(member) as source, (folder / Path(member.filename).name).open("wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
