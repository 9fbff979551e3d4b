"""Hosts as people write them, and as they are shown: a name, an IPv4 address, or an IPv6 address, with brackets where a port follows. Pure."""

import re
from functools import lru_cache
from typing import Final

LONGEST_COUNT: Final = 253
LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
FORMS: Final = "a host is a name such as node-1.example.org, or an address such as 192.168.1.20 or fd00::20"
LOOPBACK: Final = "127.0.0.1"
LARGEST_PORT: Final = 65535


def is_host(text: str) -> bool:
    """Whether a text is a name or an address, without brackets, scheme and port."""
    if ":" in text or text.removesuffix(".").rpartition(".")[2].isdigit():  # no name ends in a number: RFC 3696, 2
        return is_address(text)
    return 0 < len(text) <= LONGEST_COUNT and all(
        re.fullmatch(LABEL, label) for label in text.removesuffix(".").split(".")
    )


def is_address(text: str) -> bool:
    """Whether a text is an IP address. One of a single link (`fe80::1%eth0`) is none that others could use."""
    import ipaddress  # who shows hosts does without

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


@lru_cache(4096)
def canonical(host: str) -> str:
    """Write a host as all of its spellings are: the case of names, a last dot, and zeros in IPv6 addresses make no other host."""
    import ipaddress  # who shows hosts does without

    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().removesuffix(".")


def bare(text: str) -> str:
    """Take white space and the brackets of an IPv6 address off."""
    host = text.strip()
    return host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host


def bracketed(host: str) -> str:
    """Write a host so that a port can follow."""
    return f"[{host}]" if ":" in host else host


def shown(host: str, port: int) -> str:
    """Write an address for people."""
    return f"{bracketed(host)}:{port}"


def account_of(address: str) -> str:
    """Say on whose account an address goes: in IPv6 one customer has a whole /64."""
    import ipaddress  # who shows hosts does without

    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return plain_address(address)


def plain_address(address: str) -> str:
    """Write an IPv4 address as one that came in through a socket for both families."""
    return address.removeprefix("::ffff:") if "." in address else address


def is_web_address(address: str) -> bool:
    """Whether a node could fetch something from there."""
    from urllib.parse import urlsplit  # who shows hosts does without

    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and address.isprintable() and " " not in address
