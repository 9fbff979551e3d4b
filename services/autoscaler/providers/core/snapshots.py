"""Snapshots with the node's image in them: what one is, which are ours, which are old, and what they cost. Pure.

Ours is what is called `clusterodm-...`: such names alone are listed and deleted. A snapshot costs as long as it exists, by its
size, whether or not a machine uses it; so each list says what.

The machine that is to become one pulls the image, takes away whatever is its own (secrets, keys, its identity), and then tells whoever asks at
the node's port, with the key that it was given, whether it is ready. A snapshot holds nothing of that: what is told lies in /run, which is memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.services.autoscaler.orders import ProviderMachine

OURS: Final = "clusterodm-"
USUAL_NAME: Final = f"{OURS}nodeodm"
BUILDERS: Final = f"{OURS}snapshot-"
"""How the machines are called that become snapshots; no cluster's machines begin so, since no cluster id has an `o`."""
OLD_MS: Final = 2 * 3600 * 1000
"""A machine that has been becoming a snapshot for longer has been left behind."""

KEY: Final = "/run/clusterodm-snapshot-key"
SAID: Final = "/run/clusterodm-snapshot"
READY: Final = "ready"
TELL: Final = """\
log={said}.log
(umask 077 && : >"$log")
exec > >(exec tee "$log") 2>&1
tell() {{
    code=$?
    trap - EXIT
    if [ "$code" = 0 ]; then
        echo {ready} >{said}
    else
        sleep 1 # until tee has written what was said last
        {{ tail -c 1500 "$log"; echo "ended with code $code"; }} >{said}
    fi
    exec python3 - <<'END'
import hmac, http.server, pathlib
key = pathlib.Path("{key}").read_text()
said = pathlib.Path("{said}").read_bytes()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = hmac.compare_digest(self.path.encode(), b"/" + key.encode())
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(said) if known else 0))
        self.end_headers()
        self.wfile.write(said if known else b"")
    def log_message(self, *_what):
        pass
http.server.ThreadingHTTPServer(("", {port}), Answer).serve_forever()
END
}}
trap tell EXIT
"""
CLEAN: Final = """\
docker logout {registry} || true
rm -rf /root/.docker {folder}
cloud-init clean --logs --machine-id || cloud-init clean --logs || rm -rf /var/lib/cloud/*
rm -f /etc/ssh/ssh_host_*
sync
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class DiskSnapshot:
    """One snapshot as its cloud sees it."""

    ref: str
    name: str
    created_at_ms: int = 0
    gigabytes: float = 0.0
    """What is billed."""
    available: bool = True
    """False: it is still being made, or came to nothing."""
    regions: tuple[str, ...] = ()
    """Where machines can be made of it; empty: everywhere."""


@dataclass(frozen=True, kw_only=True)
class StoragePrice:
    """What a cloud takes for keeping a snapshot."""

    per_gigabyte_month: float
    currency: str


def named(snapshots: Iterable[DiskSnapshot], name: str) -> list[DiskSnapshot]:
    """Give those of one name, the newest first."""
    return sorted((each for each in snapshots if each.name == name), key=lambda each: (-each.created_at_ms, each.ref))


def outdated(snapshots: Iterable[DiskSnapshot], name: str, keep_count: int) -> list[DiskSnapshot]:
    """Give those of one name that newer ones have replaced. What cannot be used replaces none."""
    usable = [each for each in named(snapshots, name) if each.available]
    return usable[keep_count:]


def left_behind(machines: Iterable[ProviderMachine], now_ms: WallMs) -> list[ProviderMachine]:
    """Give the machines of attempts that have died; younger ones may be somebody's who is at it."""
    return [each for each in machines if each.created_at_ms and now_ms - each.created_at_ms > OLD_MS]


def line_of(snapshot: DiskSnapshot, price: StoragePrice) -> str:
    """Say in a line what a snapshot is and costs."""
    made = datetime.fromtimestamp(snapshot.created_at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
    where = f" in {', '.join(snapshot.regions)}" if snapshot.regions else ""
    state = "" if snapshot.available else ", not to be used: it is being made, or was not finished"
    cost = f"{snapshot.gigabytes:.1f} GB, {cost_of([snapshot], price)}"
    return f"{snapshot.ref}  {snapshot.name}  {made} UTC{where}  {cost}{state}"


def cost_of(snapshots: Sequence[DiskSnapshot], price: StoragePrice) -> str:
    """Say what snapshots cost together."""
    month = sum(each.gigabytes for each in snapshots) * price.per_gigabyte_month
    return f"about {month:.2f} {price.currency} a month"


def lines_of(snapshots: Sequence[DiskSnapshot], price: StoragePrice, machines: Sequence[ProviderMachine]) -> list[str]:
    """List all that costs: snapshots, their sum, and machines that are becoming one or were left behind."""
    ordered = sorted(snapshots, key=lambda each: (each.name, -each.created_at_ms))
    lines = [line_of(each, price) for each in ordered]
    if not snapshots:
        lines.append("no snapshots")
    elif len(snapshots) > 1:
        lines.append(f"{len(snapshots)} snapshots: {cost_of(snapshots, price)}")
    return [
        *lines,
        *(
            f"machine {each.name} ({each.ref}) is becoming a snapshot, or was left behind: it costs"
            for each in machines
        ),
    ]
