"""Health check of one service from inside its container: `python -m deploy.probe proxy|scheduler|autoscaler|admin`.

Exit code 0: it is well. The proxy and admin are asked on their ports, the scheduler and the autoscaler over the bus.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from deploy.doors import answers
from deploy.plan import reachable
from libs.common.errors import ClusterError

LIMIT_S: Final = 5.0


def main(argv: list[str]) -> int:
    """Probe one service; the exit code."""
    if len(argv) != 1 or argv[0] not in PROBES:
        print(f"probe: which of {', '.join(PROBES)}?", file=sys.stderr)  # noqa: T201 for whoever reads the health log
        return 2
    try:
        return 0 if PROBES[argv[0]]() else 1
    except (OSError, ClusterError) as error:
        print(f"probe: {error}", file=sys.stderr)  # noqa: T201 same
        return 1


def proxy() -> bool:
    """Ask the proxy on its port."""
    return answers(
        "https" if setting("SSL_KEY", "") else "http", reachable(setting("BIND", "")), int(setting("PORT", "3000"))
    )


def admin() -> bool:
    """Connect to whichever of the admin's ports is on."""
    ports = [int(setting("ADMIN_WEB_PORT", "10000")), int(setting("ADMIN_CLI_PORT", "8080"))]
    for port in filter(None, ports):
        socket.create_connection((reachable(setting("ADMIN_BIND", "")), port), timeout=LIMIT_S).close()
    return True


def on_the_bus(service: str) -> bool:
    """Ask a service over the bus; any answer of its own will do."""
    return asyncio.run(asked(service))


async def asked(service: str) -> bool:
    """Ask; a refusal is an answer too. Raises BusFailed."""
    from libs.common.bus import connect
    from libs.common.errors import BusFailed
    from libs.common.messages import FIND_UI_NODE, GET_AUTOSCALER_STATUS, FindUiNode, GetAutoscalerStatus

    # the cheapest question that only this service answers
    cheapest: dict[str, tuple[Any, Any]] = {
        "scheduler": (FIND_UI_NODE, FindUiNode()),
        "autoscaler": (GET_AUTOSCALER_STATUS, GetAutoscalerStatus()),
    }
    request, message = cheapest[service]
    async with connect(setting("NATS_URL", "nats://127.0.0.1:4222"), "probe", wait_s=LIMIT_S) as bus:
        try:
            await bus.ask(request, message, timeout_s=LIMIT_S)
        except BusFailed:
            raise
        except ClusterError:
            return True
    return True


def setting(name: str, default: str) -> str:
    """Read one of our environment variables."""
    return os.environ.get(f"CLUSTERODM_{name}") or default


PROBES: Final[dict[str, Callable[[], bool]]] = {
    "proxy": proxy,
    "admin": admin,
    "scheduler": lambda: on_the_bus("scheduler"),
    "autoscaler": lambda: on_the_bus("autoscaler"),
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
