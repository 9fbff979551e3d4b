"""The `--asr` file on disk."""

import asyncio
import json
from pathlib import Path

from libs.common.errors import Refused
from services.autoscaler.core.configuration import Configuration, check


class AsrFile:
    """A configuration file; an empty path means that there is none."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __repr__(self) -> str:
        """Show which file."""
        return f"AsrFile({self._path or 'none'})"

    async def read(self) -> Configuration | None:
        """Read and check the file; see ports.ConfigurationSource."""
        if not self._path:
            return None
        try:
            text = await asyncio.to_thread(Path(self._path).read_text, encoding="utf-8")
            return check(json.loads(text))
        except OSError as error:
            raise Refused(f"{self._path}: {error.strerror}") from None
        except ValueError as error:
            raise Refused(f"{self._path} is not valid JSON: {error}") from None
        except Refused as error:
            raise Refused(f"{self._path}: {error.message}") from None
