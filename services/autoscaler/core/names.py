"""How machines are called, and which secrets each of them has. The cluster's key is an argument.

A machine's name is its key everywhere: in the store, at the provider, in logs. The prefix holds the id of the cluster, so
that several clusters share an account and each destroys its own machines only. A machine's secrets are derived from the
cluster's key and its name: nothing has to be stored for them to survive a crash, and none is valid for another machine.
"""

import hashlib
import hmac
import re
from typing import Final

from libs.common.model import MachineId
from libs.common.secret import Secret

SUFFIX_LENGTH: Final = 8
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
SECRET_LENGTH: Final = 40
IMAGES_PLACE: Final = 2
NAME: Final = re.compile(r"clusterodm-([a-z0-9]+)-\d+-[a-z0-9]+")


def prefix(cluster_id: str) -> str:
    """Make what the names of this cluster's machines begin with."""
    return f"clusterodm-{cluster_id}-"


def machine_name(cluster_id: str, images_count: int, suffix: str) -> MachineId:
    """Name a machine for tasks of so many images. Lower case: it is a host name, too."""
    return MachineId(f"{prefix(cluster_id)}{images_count}-{suffix}")


def images_in(machine: MachineId) -> int:
    """Read from a name for how many images its machine was made; 0: it does not say."""
    words = machine.split("-")
    return int(words[IMAGES_PLACE]) if len(words) > IMAGES_PLACE and words[IMAGES_PLACE].isdigit() else 0


def cluster_id_in(machine: MachineId) -> str:
    """Read from a name which cluster's machine it is; empty: no machine of ours is called so."""
    found = NAME.fullmatch(machine)
    return found[1] if found else ""


def suffix_for(key: Secret, occasion: str) -> str:
    """Make the end of a name out of what the machine is for.

    Two autoscalers that for a moment both take themselves for the one in office decide the same, so they make the same
    name, and only one of them can write its record: the machine is created once.
    """
    number = int.from_bytes(hmac.new(key.reveal().encode(), f"name:{occasion}".encode(), hashlib.sha256).digest())
    letters = []
    for _ in range(SUFFIX_LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)


def node_token(key: Secret, machine: MachineId) -> Secret:
    """Make the token that the machine's node demands."""
    return derived(key, "node", machine)


def webhook_secret(key: Secret, machine: MachineId) -> Secret:
    """Make the secret with which the machine's node reports a finished task."""
    return derived(key, "webhook", machine)


def derived(key: Secret, purpose: str, machine: MachineId) -> Secret:
    """Derive a secret; one of them tells nothing about another."""
    text = f"{purpose}:{machine}".encode()
    return Secret(hmac.new(key.reveal().encode(), text, hashlib.sha256).hexdigest()[:SECRET_LENGTH])


def digest(secret: Secret) -> str:
    """Make what may be stored of a secret: whoever is shown the secret can check it by this."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
