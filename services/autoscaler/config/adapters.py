"""The `--asr` file on disk, and what it points to: environment variables and key files."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import EXPOSED, open_to_others, read_regular
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.config.core.reader import Outside, SettingsReader

log = structlog.get_logger()

SECRET_BYTES: Final = 64 * 1024
"""More than any key or certificate takes."""


async def read_file(path: str, kinds: Mapping[str, SettingsReader]) -> Configuration | None:
    """Read and check a file; None where the path is empty: there is none. Raises Refused with a line per mistake.

    Files with secrets that other users may read are told: this one, where it has any itself, and those that it names.
    """
    with_secrets = set[str]()
    found = await asyncio.to_thread(check_file, path, os.environ, kinds, with_secrets.add) if path else None
    for exposed in sorted(filter(open_to_others, with_secrets)):
        log.warning("secret.exposed", flag="--asr", path=exposed, reason=EXPOSED)
    return found


def check_file(
    path: str,
    environment: Mapping[str, str],
    kinds: Mapping[str, SettingsReader],
    holds_secret: Callable[[str], object] = lambda _path: None,
) -> Configuration:
    """Read and check a file: `clusterodm asr check FILE`. Raises Refused, each line with the path in front.

    `holds_secret` hears of each file that has a secret in it, this one or another.
    Relative paths inside the file are relative to the working directory, as they are for the original.
    """

    def read(name: str) -> str:
        holds_secret(name)
        return secret_in(name)

    outside = Outside(
        environment=environment,
        read=read,
        exists=lambda name: Path(name).expanduser().is_file(),
        kinds=kinds,
        plain=lambda: holds_secret(path),
    )
    try:
        return parse(text_of(path), outside)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except UnicodeError:
        raise Refused(f"{path}: not valid JSON: it is not UTF-8 text") from None
    except Refused as error:
        raise Refused("\n".join(f"{path}: {line}" for line in error.message.splitlines())) from None


def text_of(path: str) -> str:
    """Read a file; the mark that some editors put in front is no part of it. Raises OSError and UnicodeError."""
    return Path(path).read_text(encoding="utf-8-sig")


def secret_in(name: str) -> str:
    """Read the file of a secret. Raises OSError, UnicodeError, and Refused when it can hold none."""
    content = read_regular(Path(name).expanduser(), SECRET_BYTES)
    if len(content) > SECRET_BYTES:
        raise Refused(f"it is longer than {SECRET_BYTES} bytes")
    return content.decode()


def demand_text(path: str) -> str:
    """Read the file for `--demand`. Raises Refused."""
    try:
        return text_of(path)
    except (OSError, UnicodeError) as error:
        raise Refused(f"{path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None
