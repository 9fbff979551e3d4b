"""How a machine deletes itself that nobody wants any more, where turning itself off does not end its bill.

It has a key for that which the operator has made and which can do nothing but delete machines. So it is asked for in the file
(`leaseToken`, `leaseCredential`) and never the key that rents them. It lies in a file that only root reads and is no word of a command. When the
API does not take it, again and again, the machine turns itself off at least.
"""

import json
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.secret import Secret

LEASE_KEY: Final = "/opt/clusterodm/lease-token"
TRIES_COUNT: Final = 20
"""So often it is tried, once at each look at the lease, before the machine turns itself off."""

BY_BEARER: Final = """\
delete_me() {{
    number="$(curl -s -f --max-time 10 "${{CLUSTERODM_METADATA:-{number_url}}}")" && [ -n "$number" ] || return 1
    token="$(cat "${{CLUSTERODM_LEASE_TOKEN:-{key_file}}}")"
    case "$(printf 'header = "Authorization: Bearer %s"\nurl = "%s"\n' "$token" "{url}/$number" |
        curl -s -o /dev/null -w '%{{http_code}}' -X DELETE --max-time 20 -K -)" in 2*) return 0 ;; esac
    return 1
}}
"""

BY_CREDENTIAL: Final = """\
delete_me() {{
    python3 - <<'END'
import json, os, pathlib, urllib.request
def ask(method, url, body=None, token=""):
    headers = {{"Content-Type": "application/json", "X-Auth-Token": token}}
    data = json.dumps(body).encode() if body else None
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=20)
known = json.loads(pathlib.Path(os.environ.get("CLUSTERODM_LEASE_TOKEN", "{key_file}")).read_text())
number = json.load(ask("GET", os.environ.get("CLUSTERODM_METADATA", "{number_url}")))["uuid"]
credential = {{"id": known["id"], "secret": known["secret"]}}
identity = {{"methods": ["application_credential"], "application_credential": credential}}
signed_in = ask("POST", known["url"] + "/v3/auth/tokens", {{"auth": {{"identity": identity}}}})
catalog = json.load(signed_in)["token"]["catalog"]
places = [place for service in catalog if service["type"] == "compute" for place in service["endpoints"]]
urls = [place["url"] for place in places if place["interface"] == "public" and known["region"] in ("", place["region"])]
ask("DELETE", urls[0].rstrip("/") + "/servers/" + number, token=signed_in.headers["X-Subject-Token"])
END
}}
"""

END: Final = """\
end() {{
    tries="$(cat "$seen-tries" 2>/dev/null || echo 1)"
    echo $((tries + 1)) >"$seen-tries"
    if delete_me; then return; fi
    if [ "$tries" -ge {tries_count} ]; then poweroff; fi
}}
"""
TURN_OFF: Final = "end() { poweroff; }\n"
OPENSTACK_NUMBER: Final = "http://169.254.169.254/openstack/latest/meta_data.json"


@dataclass(frozen=True, kw_only=True)
class SelfDeletion:
    """With what a machine deletes itself, and how."""

    key: Secret
    """The content of the file that only root reads."""
    script: str
    """The shell function `delete_me`, which succeeds when the API has taken it."""


def by_token(number_url: str, url: str, token: Secret) -> SelfDeletion:
    """Delete by `DELETE url/id` with a bearer token; `number_url` is where a machine learns its own id."""
    return SelfDeletion(key=token, script=BY_BEARER.format(number_url=number_url, url=url, key_file=LEASE_KEY))


def by_credential(url: str, region: str, number: Secret, secret: Secret) -> SelfDeletion:
    """Delete at an OpenStack, signed in at Keystone (`url`) by an application credential with the access rule for that."""
    known = {"url": url.rstrip("/").removesuffix("/v3"), "region": region}
    key = json.dumps(known | {"id": number.reveal(), "secret": secret.reveal()})
    return SelfDeletion(key=Secret(key), script=BY_CREDENTIAL.format(number_url=OPENSTACK_NUMBER, key_file=LEASE_KEY))


def ending(deletion: SelfDeletion | None) -> str:
    """Write the shell function `end`, by which a machine ends itself."""
    return TURN_OFF if deletion is None else deletion.script + END.format(tries_count=TRIES_COUNT)
