"""How a machine deletes itself that nobody wants any more, where turning itself off does not end its bill.

It has a token for that which the operator has made and which can do nothing but delete machines. So it is asked for in the file
(`leaseToken`) and never the token that rents them. It lies in a file that only root reads and is no word of a command. When the API does not take
it, again and again, the machine turns itself off at least.
"""

from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.secret import Secret

LEASE_KEY: Final = "/opt/clusterodm/lease-token"
TRIES_COUNT: Final = 20
"""So often it is tried, once at each look at the lease, before the machine turns itself off."""

DELETE: Final = """\
delete_me() {{
    number="$(curl -s -f --max-time 10 "${{CLUSTERODM_METADATA:-{number_url}}}")" && [ -n "$number" ] || return 1
    token="$(cat "${{CLUSTERODM_LEASE_TOKEN:-{token_file}}}")"
    url="${{CLUSTERODM_API:-{url}}}/$number"
    case "$(printf 'header = "Authorization: Bearer %s"\nurl = "%s"\n' "$token" "$url" |
        curl -s -o /dev/null -w '%{{http_code}}' -X DELETE --max-time 20 -K -)" in 2*) return 0 ;; esac
    return 1
}}
end() {{
    tries="$(cat "$seen-tries" 2>/dev/null || echo 1)"
    echo $((tries + 1)) >"$seen-tries"
    if delete_me; then return; fi
    if [ "$tries" -ge {tries_count} ]; then poweroff; fi
}}
"""
TURN_OFF: Final = "end() { poweroff; }\n"


@dataclass(frozen=True, kw_only=True)
class SelfDeletion:
    """Where and with what a machine deletes itself."""

    number_url: str
    """Where a machine learns its own id: its cloud's metadata."""
    url: str
    """`DELETE url/id` deletes it."""
    token: Secret
    """For the header `Authorization: Bearer`."""


def ending(deletion: SelfDeletion | None) -> str:
    """Write the shell function `end`, by which a machine ends itself."""
    if deletion is None:
        return TURN_OFF
    return DELETE.format(
        number_url=deletion.number_url, url=deletion.url, token_file=LEASE_KEY, tries_count=TRIES_COUNT
    )
