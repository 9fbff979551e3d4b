"""The endpoints that metrics know: addresses as templates, so that no id of a task becomes a label."""

import re
from typing import Final

from clusterodm.services.proxy.exchange.nodeodm_api import is_page
from clusterodm.services.proxy.results.api import is_download

INFO: Final = "/info"
TASK_INFO: Final = "/task/{uuid}/info"
TASK_OUTPUT: Final = "/task/{uuid}/output"
UPLOAD: Final = "/task/new/upload/{uuid}"
DOWNLOAD: Final = "/task/{uuid}/download/{asset}"
PAGE: Final = "page"
OTHER: Final = "other"
"""Whatever there is not, and whatever a client makes up."""
PLAIN: Final = frozenset(
    (
        *(
            INFO,
            "/options",
            "/task/list",
            "/task/new",
            "/task/new/init",
            "/task/cancel",
            "/task/remove",
            "/task/restart",
        ),
        *(
            "/commit",
            "/machine/lease",
            "/machine/boot-log",
            "/machine/boot-output",
            "/healthz",
            "/readyz",
            "/auth/info",
            "/auth/login",
            "/auth/register",
            "/cache/clear",
        ),
    )
)
OF_TASK: Final = re.compile(r"/task/[\w-]+/(info|output)", re.ASCII)
OF_UPLOAD: Final = re.compile(r"/task/new/(upload|commit|init)/.*", re.ASCII)
TASK: Final = re.compile(r"/task/[\w-]+/(.+)", re.ASCII)


def endpoint_of(method: str, path: str) -> str:
    """Name the endpoint that a request is for."""
    if path in PLAIN:
        return path
    if found := OF_UPLOAD.fullmatch(path):
        return f"/task/new/{found[1]}/{{uuid}}"
    if found := OF_TASK.fullmatch(path):
        return f"/task/{{uuid}}/{found[1]}"
    if (found := TASK.fullmatch(path)) and is_download(method, found[1]):
        return DOWNLOAD
    return PAGE if is_page(path) else OTHER
