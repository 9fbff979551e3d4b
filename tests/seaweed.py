"""A real S3 server per test module: SeaweedFS on free loopback ports, its files in a directory of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from tests.ports import free_port

WEED = Path(sys.executable).parent / "weed"
ACCESS_KEY, SECRET_KEY = "S3ACCESSKEY", "s3-secret-key"
PUBLIC_BUCKET = "public"
"""Everybody may read it."""
GRPC = 10_000
"""SeaweedFS opens a second port so far above each of its ports."""


class Seaweed:
    """One server with one account."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port(above=GRPC)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """A client with the account's keys."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=60),
        )

    def __enter__(self) -> Self:
        """Start it, and wait until it makes a bucket."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        everybody = {"name": "anonymous", "actions": [f"Read:{PUBLIC_BUCKET}"]}
        config.write_text(
            json.dumps({"identities": [{"name": "tests", "credentials": keys, "actions": actions}, everybody]})
        )
        ports = {
            "master.port": free_port(above=GRPC),
            "volume.port": free_port(above=GRPC),
            "filer.port": free_port(above=GRPC),
        }
        with (self._folder / "weed.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    WEED, "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
                    f"-s3.port={self.port}", f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
                    "-s3.port.iceberg=0", "-s3.port.lance=0",  # else on fixed ports: one server per computer
                    *(f"-{name}={port}" for name, port in ports.items()),
                ],
                stdout=log, stderr=log, cwd=self._folder,
            )  # fmt: skip
        deadline_s = time.monotonic() + 40
        while True:
            try:
                self.client().create_bucket(Bucket="results")
                self.client().create_bucket(Bucket=PUBLIC_BUCKET)
            except Exception as error:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise AssertionError((self._folder / "weed.log").read_text()[-2000:]) from error
                time.sleep(0.2)
            else:
                return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it; what it keeps is of no use any more, and told to stop it takes ten seconds."""
        if self._process:
            self._process.kill()
            self._process.wait()
