"""A program that asks over NATS as fast as the computer lets it, and reads no answer: `python -m tests.nats_flood URL SUBJECT BYTES COUNT`."""

import json
import socket
import sys
from urllib.parse import urlsplit

AT_ONCE_BYTES = 1 << 16


def flood(url: str, subject: str, size_bytes: int, count: int) -> None:
    """Send so many requests, each with so many bytes; ends when NATS has read them all, or has had enough."""
    where = urlsplit(url)
    user = {"user": where.username, "pass": where.password, "verbose": False, "pedantic": False}
    body = b"{}" if size_bytes <= 2 else b'{"search":"%s"}' % (b"x" * (size_bytes - 13))
    one = b"PUB %s _INBOX.integration.nobody %d\r\n%s\r\n" % (subject.encode(), len(body), body)
    some = max(1, AT_ONCE_BYTES // len(one))
    with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
        connection.sendall(b"CONNECT %s\r\n" % json.dumps(user).encode())
        for _ in range(0, count, some):
            connection.sendall(one * some)
        connection.sendall(b"PING\r\n")
        while b"PONG" not in connection.recv(65536):
            pass


if __name__ == "__main__":
    flood(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
