"""What a finished task leaves: small files under ODM's names, made from the uploads, and all.zip around them.

`nodesim.json` is the proof: name, size and SHA-256 of every file that the node
had on disk when it processed the task, so that a test can compare the dataset
byte for byte. The orthophoto is a valid little TIFF whose pixels are that hash.
Nothing larger than one chunk is held in memory, however large the files are.
"""

import hashlib
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from clusterodm.libs.nodesim.tasks import Task

CHUNK_BYTES: Final = 1024 * 1024
MANIFEST: Final = "nodesim.json"
PADDING: Final = "odm_texturing/odm_textured_model_geo.obj"
ARCHIVED: Final = (
    "odm_orthophoto/odm_orthophoto.tif",
    "odm_orthophoto/cutline.gpkg",
    "odm_georeferencing",
    "odm_texturing",
    "odm_dem/dsm.tif",
    "odm_dem/dtm.tif",
    "images.json",
    "cameras.json",
    "task_output.txt",
    "log.json",
    "odm_report",
    MANIFEST,
)


def pack(project: Path, task: Task, console: Sequence[str], padding_bytes: int) -> None:
    """Write the results into the project and all.zip with what was asked for (`outputs`), or the usual."""
    manifest = describe(project, task)
    for name, content in _results(manifest, task, console):
        _write(project / name, content)
    if padding_bytes:
        _pad(project / PADDING, padding_bytes)
    partial = project / f"all.zip.{task.run_count}"
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for path in _chosen(project, task.outputs or ARCHIVED):
            archive.write(path, path.relative_to(project).as_posix())
    partial.rename(project / "all.zip")


def describe(project: Path, task: Task) -> dict[str, Any]:
    """List the files that the task was processed with."""
    return {
        "uuid": task.uuid,
        "name": task.name,
        "run": task.run_count,
        "options": task.options,
        "images": [_file(path) for path in sorted((project / "images").iterdir())],
        "gcp": [_file(path) for path in sorted((project / "gcp").iterdir())],
    }


def images_database(project: Path) -> list[dict[str, Any]]:
    """List the images as ODM's images.json does, as far as a webhook's receiver may care."""
    path = project / "images.json"
    return msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]]) if path.exists() else []


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"name": path.name, "size": path.stat().st_size, "sha256": digest}


def _results(manifest: dict[str, Any], task: Task, console: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    digest = hashlib.sha256(encoded).digest()
    images = [{"filename": image["name"], "width": 4000, "height": 3000} for image in manifest["images"]]
    yield MANIFEST, encoded
    yield "images.json", msgspec.json.encode(images)
    yield "cameras.json", b"{}"
    yield "log.json", msgspec.json.encode({"stages": [], "success": True, "processes": 1})
    yield "task_output.txt", "\n".join(console).encode()
    yield "odm_orthophoto/odm_orthophoto.tif", tiff(digest)
    yield "odm_orthophoto/cutline.gpkg", digest
    yield "odm_dem/dsm.tif", tiff(digest)
    yield "odm_dem/dtm.tif", tiff(digest[::-1])
    yield "odm_georeferencing/odm_georeferenced_model.laz", b"LASF" + digest
    yield PADDING, f"# {task.images_count} images, {digest.hex()}\n".encode()
    yield "odm_report/report.pdf", b"%PDF-1.4\n%" + digest.hex().encode() + b"\n%%EOF\n"


def tiff(pixels: bytes) -> bytes:
    """Make a grey TIFF, one row high, 8 bits per pixel: eight entries, each tag, type LONG, count 1, value."""
    tags = (
        (256, len(pixels)),  # width
        (257, 1),  # height
        (258, 8),  # bits per sample
        (259, 1),  # no compression
        (262, 1),  # black is zero
        (273, 8),  # where the pixels are
        (278, 1),  # rows per strip
        (279, len(pixels)),  # bytes in the strip
    )
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    at = 8 + len(pixels)
    return struct.pack("<2sHI", b"II", 42, at) + pixels + struct.pack("<H", len(tags)) + directory + bytes(4)


def _chosen(project: Path, outputs: Sequence[str]) -> Iterator[Path]:
    """Every file below the paths asked for that exist; a path that leaves the project is none."""
    seen: set[Path] = set()
    for output in outputs:
        path = (project / output).resolve()
        if not path.is_relative_to(project.resolve()):
            continue
        found = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        for item in found:
            if item.is_file() and item not in seen:
                seen.add(item)
                yield project / item.relative_to(project.resolve())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pad(path: Path, size_bytes: int) -> None:
    block = hashlib.shake_256(path.name.encode()).digest(CHUNK_BYTES)
    with path.open("wb") as opened:
        for written in range(0, size_bytes, CHUNK_BYTES):
            opened.write(memoryview(block)[: min(CHUNK_BYTES, size_bytes - written)])
