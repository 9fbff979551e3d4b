"""Uploads a task's results as NodeODM does: `<task>/all.zip` and the orthophoto into the bucket, before the task ends."""

import json
import sys
from pathlib import Path
from typing import Any, Final

UPLOADED: Final = ("all.zip", "odm_orthophoto/odm_orthophoto.tif")


def main(settings: str, task: str, project: str) -> int:
    """Upload what is there."""
    client = client_of(json.loads(Path(settings).read_text()))
    bucket = json.loads(Path(settings).read_text())["bucket"]
    for name in UPLOADED:
        path = Path(project) / name
        if path.exists():
            client.upload_file(str(path), bucket, f"{task}/{name}")
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
    raise SystemExit(main(*sys.argv[1:]))
