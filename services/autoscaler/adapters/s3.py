"""The bucket where nodes put their results, tried once at the start. boto3 stops here."""

import asyncio
import re
from typing import Any, Final

import structlog

from libs.common.errors import Refused
from services.autoscaler.core.orders import S3Target

log = structlog.get_logger()

TEST_KEY: Final = "test.txt"
TIMEOUT_S: Final = 10
REGION: Final = re.compile(r"(?:^|//)s3[.-]([a-z0-9-]+)\.amazonaws\.com")
USUAL_REGION: Final = "us-east-1"


class Bucket:
    """See ports.Storage."""

    def __init__(self, target: S3Target) -> None:
        self._target = target

    def __repr__(self) -> str:
        """Show which bucket."""
        return f"Bucket({self._target.bucket} at {self._target.endpoint})"

    async def check(self) -> None:
        """Write a small file, as the original does; see ports.Storage."""
        try:
            await asyncio.to_thread(self._write)
        except Exception as error:  # noqa: BLE001 boto3 raises whatever its parts raise
            raise Refused(f"Cannot connect to S3. Check your S3 configuration: {code_of(error)}") from None
        log.info("Can write to S3")

    def _write(self) -> None:
        client_of(self._target).put_object(Bucket=self._target.bucket, Key=TEST_KEY, Body=b"")


def client_of(target: S3Target) -> Any:
    """Make a boto3 client for the bucket."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint_url(target.endpoint),
        region_name=region_of(target.endpoint),
        aws_access_key_id=target.access_key.reveal(),
        aws_secret_access_key=target.secret_key.reveal(),
        verify=not target.ignore_ssl,
        config=Config(
            signature_version="s3v4",
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            retries={"max_attempts": 2},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def endpoint_url(endpoint: str) -> str:
    """Add the scheme that the original assumes."""
    return endpoint if "://" in endpoint else f"https://{endpoint}"


def region_of(endpoint: str) -> str:
    """Read Amazon's region out of an endpoint; other providers take any."""
    found = REGION.search(endpoint)
    return found[1] if found else USUAL_REGION


def code_of(error: Exception) -> str:
    """Say what went wrong in the service's own word: `InvalidAccessKeyId`, `NoSuchBucket`; never a key."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
