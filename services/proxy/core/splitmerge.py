"""Split-merge: where the parts of a dataset that is cut into parts are sent. Pure.

ODM running on a node sends the parts back to the cluster, so the option `sm-cluster` must be an address of the cluster that
the node can reach. Whatever the client wrote there is replaced: it would send its parts, and the token, elsewhere.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from libs.common.errors import Refused
from libs.common.model import OptionValue

SPLIT: Final = "split"
SM_CLUSTER: Final = "sm-cluster"
NOT_A_CLUSTER: Final = "Cannot use this node as a split-merge cluster."
"""The original's words."""


def rewrite_split(
    options: Sequence[OptionValue], *, enabled: bool, address: str, token: str
) -> tuple[OptionValue, ...]:
    """Point `sm-cluster` to the cluster when `split` is set; take it out where split-merge is not served.

    `address` is how clients reach the cluster (`http://host:port`); `token` is that of this client.
    """
    if not enabled:
        return tuple(option for option in options if option.name != SM_CLUSTER)
    cluster = OptionValue(SM_CLUSTER, cluster_url(address, token))
    rewritten = tuple(cluster if option.name == SM_CLUSTER else option for option in options)
    names = {option.name for option in options}
    return (*rewritten, cluster) if SPLIT in names and SM_CLUSTER not in names else rewritten


def cluster_url(address: str, token: str) -> str:
    """Write the cluster's address as ODM wants it: the token is a query parameter."""
    root = address.rstrip("/") + "/"
    return f"{root}?token={quote(token, safe='')}" if token else root


def check_seed(has_seed: bool, *, enabled: bool) -> None:
    """Raise Refused for a sub-model (it brings a `seed.zip`) where split-merge is not served."""
    if has_seed and not enabled:
        raise Refused(NOT_A_CLUSTER)
