"""Addresses that clients name: which are web addresses, and which lead where no client may send us. Pure.

A client that names an address for its webhook makes this proxy call it, from inside the operators' network. So what a name resolves
to is judged, not the name: loopback, link-local (the clouds' metadata), private networks, shared address space (RFC 6598), multicast,
unspecified, documentation and whatever else the registry of IANA calls not global, also inside of IPv6 (mapped, NAT64, 6to4).
Operators name what is all the same meant with `--webhook-allow`.
"""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import bracketed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_A_WEBHOOK: Final = "webhook must be an address that begins with http:// or https://"
LONGEST_COUNT: Final = 2048
"""Characters of an address."""
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address."""
NOT_PUBLIC: Final = (
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
)
"""What looks public to `ipaddress`, or to some versions of it.

The host of a virtual machine at Azure, who tells it its settings and certificates; protocol assignments (RFC 6890; 192.0.0.192 told machines at
Oracle theirs); relays of 6to4, which are gone (RFC 7526); documentation (RFC 9637).
"""
HOST: Final = re.compile(r"[0-9a-z_.-]+")
KEPT: Final = "!$%&'()*+,/:;=?@[]~"
"""What stays as it is in the path and the query of a request; a per cent sign because it may be escaped already."""


@dataclass(frozen=True)
class Destination:
    """Where a request goes, and how it is written."""

    tls: bool
    host: str
    """A name, or an IP address without brackets."""
    port: int
    authority: str
    """For the `Host` line."""
    target: str
    authorization: str = ""
    """For the line of that name: from `user:password@`."""

    def __repr__(self) -> str:
        """Show no more than the host: the rest may hold a secret."""
        return f"Destination({self.host})"


def destination(url: str) -> Destination:
    """Read an address. Raises Refused for what is no http(s) address."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = host_of(parts.hostname or "")
    except ValueError:
        raise Refused(NOT_A_WEBHOOK) from None
    tls = parts.scheme == "https"
    if parts.scheme not in {"http", "https"} or not host or port == 0 or len(url) > LONGEST_COUNT:
        raise Refused(NOT_A_WEBHOOK)
    shown = bracketed(host)
    target = quote(parts.path or "/", safe=KEPT) + (f"?{quote(parts.query, safe=KEPT)}" if parts.query else "")
    return Destination(
        tls=tls,
        host=host,
        port=port or (443 if tls else 80),
        authority=shown if port is None else f"{shown}:{port}",
        target=target,
        authorization=basic(parts.username, parts.password or "") if parts.username else "",
    )


def webhook_of(form: Mapping[str, str]) -> str:
    """Read the address that a client wants to be called at; empty: none. Raises Refused for what is no http(s) address."""
    url = form.get("webhook", "").strip()
    if url:
        destination(url)
    return url


def host_of(text: str) -> str:
    """Write a host as it is looked up; empty: it is none. Raises ValueError."""
    if ":" in text:
        return str(ipaddress.IPv6Address(text))
    name = text.encode("idna").decode()
    return name if HOST.fullmatch(name) else ""


def basic(user: str, password: str) -> str:
    """Write the credentials of an address (RFC 7617)."""
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def networks(text: str) -> tuple[Network, ...]:
    """Read networks and addresses that are separated by commas. Raises ValueError."""
    words = [word.strip().strip("[]") for word in text.split(",") if word.strip()]
    try:
        return tuple(ipaddress.ip_network(word, strict=False) for word in words)
    except ValueError:
        raise ValueError("networks such as 192.168.1.0/24,fd00::/8 or single addresses, separated by commas") from None


def why_not(address: Address, allowed: Sequence[Network]) -> str:
    """Say why no client may send us to an address; empty: it may."""
    inner = carried(address)
    if any(each in network for network in allowed for each in (address, inner) if each.version == network.version):
        return ""
    kind = kind_of(inner)
    return f"{address} is {kind}" if kind else ""


def carried(address: Address) -> Address:
    """Take the IPv4 address out of an IPv6 address that leads there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def kind_of(address: Address) -> str:
    """Say what is special about an address; empty: it is anybody's."""
    not_public = "an address that is not public"
    if any(address in network for network in NOT_PUBLIC):
        return not_public
    kinds = {
        "an unspecified address": address.is_unspecified,
        "a loopback address": address.is_loopback,
        "a link-local address": address.is_link_local,
        "a multicast address": address.is_multicast,
        "an address of a private network": address.is_private or getattr(address, "is_site_local", False),
        not_public: address.is_reserved or not address.is_global,
    }
    return next((kind for kind, is_so in kinds.items() if is_so), "")
