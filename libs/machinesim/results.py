"""Uploads a task's results as NodeODM does: `<task>/all.zip` and the orthophoto into the bucket, before the task ends."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

UPLOADED: Final = ("all.zip", "odm_orthophoto/odm_orthophoto.tif")


def main(words: Sequence[str] | None = None) -> int:
    """Upload what is there."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m clusterodm.libs.machinesim.results", description=__doc__
    )
    parser.add_argument("settings", type=Path, help="JSON object with endpoint, bucket, access_key and secret_key")
    parser.add_argument("task", help="the task's id: the folder in the bucket")
    parser.add_argument("project", type=Path, help="the task's folder on the node")
    given = parser.parse_args(words)
    try:
        settings = json.loads(given.settings.read_text())
        client, bucket = client_of(settings), settings["bucket"]
    except (OSError, ValueError, KeyError) as error:
        parser.exit(2, f"{parser.prog}: {given.settings} will not do: {error}\n")
    for name in UPLOADED:
        path = given.project / name
        if path.exists():
            client.upload_file(str(path), bucket, f"{given.task}/{name}")
    return 0


def client_of(node: dict[str, str]) -> Any:
    """Make a client with the node's own flags."""
    import boto3
    from botocore.config import Config

    endpoint = node["endpoint"]
    return boto3.client(
        "s3",
        endpoint_url=endpoint if "://" in endpoint else f"https://{endpoint}",
        region_name="us-east-1",
        aws_access_key_id=node["access_key"],
        aws_secret_access_key=node["secret_key"],
        verify=node.get("ignore_ssl") != "true",
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )


if __name__ == "__main__":
    raise SystemExit(main())
