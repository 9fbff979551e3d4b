"""What a command reads of this computer: where the cluster is, and the files and secrets that an operator names."""

import getpass
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed, Refused

FILE: Final = "cluster.json"
DATA_DIR: Final = Path("data")
STANDARD_INPUT: Final = "-"


class ClusterFile(msgspec.Struct, frozen=True):
    """What stands in cluster.json."""

    nats_url: str


def nats_url(flag: str, data_dir: Path | None) -> str:
    """Find the NATS server: by a flag, the environment, or the file that `clusterodm up` leaves behind.

    Raises BusFailed when there is no cluster, Refused when its file is damaged.
    """
    if flag:
        return flag
    environment = os.environ.get("CLUSTERODM_NATS_URL", "")
    if environment and data_dir is None:
        return environment
    return read_cluster_file((data_dir or Path(os.environ.get("CLUSTERODM_DATA_DIR") or DATA_DIR)) / FILE)


def read_cluster_file(path: Path) -> str:
    """Read what `clusterodm up` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClusterFile).nats_url
    except FileNotFoundError:
        raise BusFailed(f"there is no running cluster at {path}; name its NATS server with --nats-url") from None
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path} is damaged: {error}") from None


def read(path: str) -> str:
    """Read a file. Raises Refused."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_secret(path: str) -> str:
    """Read a secret from a file or from standard input, without showing it on a terminal."""
    if path != STANDARD_INPUT:
        return read(path).strip()
    return getpass.getpass("Token: ").strip() if sys.stdin.isatty() else sys.stdin.readline().strip()
