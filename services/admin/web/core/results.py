"""Where the client of a task fetches its results: at a proxy, by what the proxies say of their settings. Pure."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from clusterodm.libs.common.hosts import bracketed
from clusterodm.libs.common.messages.health import SettingInForce
from clusterodm.libs.common.messages.overview import SpoolReport

ASSET = "all.zip"


def results_url(task: str, spools: Iterable[SpoolReport], host: str) -> str:
    """Give the address of a task's results: at the cluster's public address, else where this page is, at a proxy's port. Empty: no proxy is there.

    `host`: the name under which whoever looks has reached this page, without its port.
    """
    reports = [settings_of(each.settings) for each in spools if each.settings]
    if not reports:
        return ""
    told = next((each for each in reports if each.get("public-address")), reports[0])
    base = told.get("public-address", "").rstrip("/") or local(told, host)
    return f"{base}/task/{quote(task, safe='')}/download/{ASSET}" if base else ""


def settings_of(settings: Iterable[SettingInForce]) -> Mapping[str, str]:
    """Give values by their names."""
    return {each.name: each.value for each in settings}


def local(told: Mapping[str, str], host: str) -> str:
    """Say where a proxy on this computer is reached; empty: nobody knows."""
    secure = bool(told.get("ssl-key"))
    tls_port = told.get("secure-port", "") if secure else ""
    port = tls_port if tls_port not in {"", "0"} else told.get("port", "")
    if not host or port in {"", "0"}:
        return ""
    return f"http{'s' if secure else ''}://{bracketed(host)}:{port}"
