"""`python -m clusterodm.libs.machinesim.cloud_api_main digitalocean --port 4010 --nodes`: a simulated cloud as a program."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clusterodm.libs.machinesim import cloud_api_digitalocean, cloud_api_hetzner, cloud_api_scaleway
from clusterodm.libs.machinesim.cloud_api import SLOW_S
from clusterodm.libs.machinesim.cloud_api_machines import Machines
from clusterodm.libs.machinesim.cloud_api_testing import KINDS, TOKEN, Server, listener, made, server

TAKEN: Final = (
    f"digitalocean takes the regions {', '.join(cloud_api_digitalocean.REGIONS)} and the sizes "
    f"{', '.join(cloud_api_digitalocean.SIZES)}; hetzner the locations {', '.join(cloud_api_hetzner.LOCATIONS)} and the types "
    f"{', '.join(cloud_api_hetzner.SIZES)}; scaleway the zones {', '.join(cloud_api_scaleway.ZONES)} and the types "
    f"{', '.join(cloud_api_scaleway.SIZES)}; docker has neither. All else is refused, as by the real ones."
)


def parser() -> argparse.ArgumentParser:
    """Make the command line."""
    found = argparse.ArgumentParser(
        allow_abbrev=False, prog="cloud_api", description="A cloud that rents out simulated nodes.", epilog=TAKEN
    )
    found.add_argument("kind", choices=sorted(KINDS))
    found.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    found.add_argument("--port-file", help="write the port into this file once connections are taken")
    found.add_argument("--token", default=TOKEN, help="the key that callers must show")
    found.add_argument("--boot-s", type=float, default=0.0, help="seconds until a machine runs")
    found.add_argument("--delete-s", type=float, default=0.0, help="seconds until a deleted machine has vanished")
    found.add_argument("--slow-s", type=float, default=SLOW_S, help="seconds for which a slow answer is held back")
    found.add_argument("--nodes", action="store_true", help="start a simulated node on each machine")
    found.add_argument("--node", default="{}", type=json.loads, help="settings of those nodes, as a JSON object")
    found.add_argument("--exit-with-stdin", action="store_true", help="exit when standard input ends")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cloud until it is told to stop; the exit code."""
    given = parser().parse_args(arguments)
    machines = Machines(boot_s=given.boot_s, delete_s=given.delete_s, nodes=given.node if given.nodes else None)
    cloud, _ = made(given.kind, machines, given.token, given.slow_s)
    try:
        asyncio.run(serve(server(cloud), given))
    finally:
        machines.close()
    return 0


async def serve(running: Server, given: argparse.Namespace) -> None:
    """Serve until SIGTERM, SIGINT or the end of standard input."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        running.should_exit = running.force_exit = True

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if given.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), heard)
    taken = listener(given.port)
    announce(taken.getsockname()[1], given.port_file)
    await running.serve(sockets=[taken])


def announce(port: int, port_file: str | None) -> None:
    """Tell where it listens."""
    print(f"listens on http://127.0.0.1:{port}", flush=True)  # noqa: T201 - the program's one line
    if port_file:
        partial = Path(f"{port_file}.new")
        partial.write_text(f"{port}\n")
        partial.rename(port_file)


if __name__ == "__main__":
    sys.exit(main())
