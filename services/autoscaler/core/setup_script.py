"""What is done on a machine over SSH once docker-machine has made it: swap, registry, set-up command, node.

The script is read from standard input (`docker-machine ssh NAME bash -s`), never given as a word of a command: it holds
secrets. It may run twice, after a crash of ours in the middle: every part looks first whether it is done.
"""

import shlex
from typing import Final

from services.autoscaler.core.node_command import run_words
from services.autoscaler.core.orders import Launch, Registry

DONE: Final = "/var/lib/clusterodm-set-up"
SWAP: Final = "/swapfile"


def set_up_script(launch: Launch) -> str:
    """Write the script, secrets in clear."""
    parts = [
        "set -eu",
        swap(launch.swap_ratio) if launch.swap_ratio else "",
        once(launch.setup_command) if launch.setup_command else "",
        login(launch.registry) if launch.registry else "",
        node(launch),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def swap(ratio: float) -> str:
    """Add swap in parts of the memory."""
    return (
        f"if ! swapon --show=NAME --noheadings | grep -qx {SWAP}; then\n"
        f"  size=$(awk '/^MemTotal/ {{ printf \"%.0f\", $2 * {ratio:g} * 1024 }}' /proc/meminfo)\n"
        f'  fallocate -l "$size" {SWAP}\n'
        f"  chmod 600 {SWAP}\n  mkswap {SWAP}\n  swapon {SWAP}\n"
        "fi"
    )


def once(command: str) -> str:
    """Run the operator's command, once."""
    return f"if ! test -e {DONE}; then\n  bash -c {shlex.quote(command)}\n  touch {DONE}\nfi"


def login(registry: Registry) -> str:
    """Log in to the registry; the password goes in by standard input."""
    user, url = shlex.quote(registry.username), shlex.quote(registry.url)
    password = shlex.quote(registry.password.reveal())
    return f"printf %s {password} | docker login -u {user} --password-stdin {url}"


def node(launch: Launch) -> str:
    """Start the node, unless something serves its port already."""
    return f'if test -z "$(docker ps -aq --filter publish={launch.port})"; then\n  {shlex.join(run_words(launch))}\nfi'
