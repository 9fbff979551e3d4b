"""The autoscaler's own directory: one small file with every id that its machines ever bore, and their keys.

It is private (the directory 0700, the file 0600), and written so that a crash leaves the old content or the new one. A file
that cannot be read is no reason to begin anew: machines of the ids in it would cost for ever. So that is an error.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import sync_folder
from clusterodm.services.autoscaler.identity.core import Identities

FOLDER: Final = "autoscaler"
FILE: Final = "identities.json"


class IdentityFile:
    """See handlers.IdentityStore."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FOLDER / FILE

    def read(self) -> Identities | None:
        """Read it; None when there is none. Raises Refused."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Identities)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused(f"{self._path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused(
                f"{self._path} cannot be read: restore it, or move it away; "
                "without it machines of earlier stores are found by their name at the provider only"
            ) from None

    def write(self, identities: Identities) -> None:
        """Replace it. Raises Refused."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.parent.chmod(0o700)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=FILE, delete=False) as file:
                file.write(msgspec.json.format(msgspec.json.encode(identities), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise Refused(f"{self._path} cannot be written: {error.strerror}") from None
