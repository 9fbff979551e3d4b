#!/usr/bin/env python3
"""End a machine when nobody has wanted it for some time: `lease.py NAME SECONDS`. It ends with the machine."""

import os
import shutil
import sys
import time
import urllib.error
import urllib.request

from instances import FOLDER, instances, stop

CHECK_S = float(os.environ.get("CLUSTERODM_LEASE_CHECK_S", "30"))
TIMEOUT_S = 20
OK = 200


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is no yes."""

    def redirect_request(self, *_what: object) -> None:
        """Follow none."""


def main(name: str, lease_s: float) -> None:
    """Ask the cluster again and again."""
    wanted_at_s = time.monotonic()
    while name in instances():
        try:
            url = (FOLDER / name / "lease-url").read_text()
        except OSError:
            return  # it is being destroyed
        if wanted(url):
            wanted_at_s = time.monotonic()
        if time.monotonic() - wanted_at_s >= lease_s:
            print("nobody wants this machine any more", flush=True)  # noqa: T201 - its log
            stop(name)
            shutil.rmtree(FOLDER / name, ignore_errors=True)
            return
        time.sleep(CHECK_S)


def wanted(url: str) -> bool:
    """Whether the cluster says so."""
    try:
        with urllib.request.build_opener(NoRedirect()).open(url, timeout=TIMEOUT_S) as said:
            return bool(said.status == OK)
    except (OSError, urllib.error.HTTPError):
        return False


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
