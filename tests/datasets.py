"""Datasets for tests: small files with content of their own, and what a node made of them."""

import hashlib
import json
import random
import zipfile
from pathlib import Path


def make_images(folder: Path, count: int, *, size_bytes: int = 20_000, seed: int = 0) -> list[Path]:
    """Write that many files that look like JPEG from outside and differ in content."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    paths = []
    for number in range(count):
        path = folder / f"IMG_{number:04}.JPG"
        path.write_bytes(b"\xff\xd8\xff\xe0" + chance.randbytes(size_bytes) + b"\xff\xd9")
        paths.append(path)
    return paths


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def expected(paths: list[Path]) -> dict[str, str]:
    """Names and digests of a dataset."""
    return {path.name: sha256(path) for path in paths}


def processed(all_zip: Path) -> dict[str, str]:
    """Names and digests of the images that a simulated node lists in its result."""
    with zipfile.ZipFile(all_zip) as archive:
        listed = json.loads(archive.read("nodesim.json"))
    return {image["name"]: image["sha256"] for image in listed["images"]}
