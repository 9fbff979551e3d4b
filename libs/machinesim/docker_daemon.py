"""Docker's daemon on a machine of a simulated cloud, as far as docker-machine looks at it: a TLS port with the certificates it has sent.

`systemctl start docker` begins it and waits until it listens. Without the certificates it listens nowhere, as a fresh Docker does.
"""

import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

PORT: Final = 2376
LIFE_S: Final = 300.0
"""None outlives its test by more."""


def main(words: Sequence[str]) -> int:
    """Listen at an address with the certificates of a folder, and write the named file as soon as that is so."""
    address, folder, ready = words[0], Path(words[1]), Path(words[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
        context.load_verify_locations(folder / "ca.pem")
    except (OSError, ssl.SSLError) as error:
        print(f"dockerd: {error}", file=sys.stderr)  # noqa: T201 what the program says
        return 1
    with socket.create_server((address, PORT)) as listening:
        listening.settimeout(LIFE_S)
        ready.touch()
        with suppress(TimeoutError):
            while True:
                serve(listening.accept()[0], context)
    return 0


def serve(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Shake hands with whoever has a certificate of the same authority."""
    connection.settimeout(LIFE_S)
    with connection, suppress(OSError, ssl.SSLError), context.wrap_socket(connection, server_side=True) as tls:
        tls.recv(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
