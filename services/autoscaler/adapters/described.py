"""How a call that would create a machine is shown to an operator: one line, the user data only as its length."""

import json
from collections.abc import Mapping
from typing import Any


def described(method: str, url: str, body: Mapping[str, Any], **hidden: str) -> str:
    """Say the call; `user_data` and the `hidden` parts of the body appear as what is said of them."""
    shown = dict(body)
    if "user_data" in shown:
        shown["user_data"] = f"<{len(str(shown['user_data']).encode())} bytes of cloud-init>"
    return f"{method} {url} {json.dumps(shown | hidden, ensure_ascii=False)}"
