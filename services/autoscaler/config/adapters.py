"""The `--asr` file on disk, and what it points to: environment variables and key files."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import read_regular
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.config.core.reader import Outside, SettingsReader

SECRET_BYTES: Final = 64 * 1024
"""More than any key or certificate takes."""


async def read_file(path: str, kinds: Mapping[str, SettingsReader]) -> Configuration | None:
    """Read and check a file; None where the path is empty: there is none. Raises Refused with a line per mistake."""
    return await asyncio.to_thread(check_file, path, os.environ, kinds) if path else None


def check_file(path: str, environment: Mapping[str, str], kinds: Mapping[str, SettingsReader]) -> Configuration:
    """Read and check a file: `clusterodm asr check FILE`. Raises Refused, each line with the path in front.

    Relative paths inside the file are relative to the working directory, as they are for the original.
    """
    outside = Outside(
        environment=environment,
        read=secret_in,
        exists=lambda name: Path(name).expanduser().is_file(),
        kinds=kinds,
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
