"""Which proxy a task waits for, and where its photos should be: words for users and operators. Pure.

A proxy is its spool: one that runs at the same address with another directory is another one, and has none of these photos.
"""

from collections.abc import Mapping

from libs.common.model import InstanceId, Proxy

Proxies = Mapping[InstanceId, Proxy]


def holder_away(holder: InstanceId, url: str, proxies: Proxies) -> str:
    """Say for whom a task waits. `url`: where its upload was announced, if anywhere."""
    known = proxies.get(holder)
    address = known.url if known else url
    line = f"Waiting for proxy {address or holder}, which holds the photos and does not answer"
    if known:
        line += f" (they lie in {known.spool} on {known.host})"
    if address and any(is_instead(other, holder, address, known) for other in proxies.values()):
        line += "; the proxy that runs there now does not have them"
    return line


def is_instead(other: Proxy, holder: InstanceId, address: str, known: Proxy | None) -> bool:
    """Whether another proxy was started later at the same address."""
    later = known is None or other.started_at_ms > known.started_at_ms
    return other.instance != holder and other.url == address and later


def holder_gone(holder: InstanceId, url: str, proxies: Proxies, hours: float) -> str:
    """Say why a task fails whose holder has not come back."""
    known = proxies.get(holder)
    if known:
        where = f"they lay in {known.spool} on {known.host} (proxy {known.url})"
    else:
        where = f"they lay with proxy {url or holder}"
    return f"Its photos are lost: {where}, which has not come back for {hours:g} h. Please create the task again."
