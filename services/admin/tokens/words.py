"""`clusterodm token create|list|revoke|rotate` and `clusterodm tenant list|set|remove`: words about the file of tokens.

A new token is the only thing on standard output, so that it can be piped; what there is to say about it goes to standard error. It is shown
this once: the file holds a digest. Exit codes: 0 done · 1 the answer is no · 2 wrong usage or a mistake in a file.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.tenancy import TOKENS_FILE, OptionLimit, limits_of
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.services.admin.cli.adapters import DATA_DIR, read, read_secret, tokens_of_running
from clusterodm.services.admin.rendering.text import PROGRAMS, printable, written
from clusterodm.services.admin.tenants.adapters import changing, new_secret, read_file, write_file
from clusterodm.services.admin.tenants.core.commands import date, rows, tenant_data, tenants_data, token_data
from clusterodm.services.admin.tenants.core.file import (
    NewToken,
    created,
    found,
    new_token,
    revoked,
    rotated,
    successor,
    with_tenant,
    without_tenant,
)
from clusterodm.services.admin.tokens.grammar import parser

ROOT: Final = 0
Arguments = argparse.Namespace
Act = Callable[[Arguments], int]


def main(argv: Sequence[str]) -> int:
    """Carry out one word, the noun included; the exit code."""
    try:
        given = parser().read(argv)
        require_named(given)
        return ACTS[given.noun, given.verb](given)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except NotFound as error:
        return complain(error.message, EXIT_FAILED)
    except Refused as error:
        return complain(error.message, EXIT_USAGE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


# --- what they do -------------------------------------------------------------------------------------------------------


def create_token(given: Arguments) -> int:
    """`token create`."""
    path, changes = path_of(given), changes_of(given)
    token, id_ = new_secret()
    token = read_secret(given.token_file) if given.token_file else token
    new = new_token(token, id_, given.tenant, now_ms(), given.expires, given.note)
    is_new = not path.parent.exists()
    with changing(path):
        write_file(path, created(read_file(path), new, changes, takes_over=bool(given.token_file)))
    if is_new and path.parent.stat().st_uid == ROOT:
        tell(
            f"warning: {path.parent} was not there and belongs to root now: a cluster of another user cannot use it before chown -R USER {path.parent}"
        )
    return show_new(given, new, path)


def rotate_token(given: Arguments) -> int:
    """`token rotate`."""
    path, at_ms = path_of(given), now_ms()
    with changing(path):
        file = read_file(path)
        old = found(file, given.id)
        token, id_ = new_secret()
        new = successor(old, token, id_, at_ms, given.expires)
        write_file(path, rotated(file, old.id, new, at_ms, given.overlap))
    return show_new(given, new, path)


def revoke_tokens(given: Arguments) -> int:
    """`token revoke`."""
    if not given.id and not given.tenant:
        raise Refused("which one? Name tokens by their ids, or all of a tenant with --tenant")
    path = path_of(given)
    with changing(path):
        file, gone = revoked(read_file(path), given.id, given.tenant)
        write_file(path, file)
    say(
        [{"id": token.id, "tenant": token.tenant} for token in gone],
        given,
        f"revoked: {', '.join(token.id for token in gone)}",
    )
    return EXIT_OK


def list_tokens(given: Arguments) -> int:
    """`token list`."""
    path = path_of(given)
    listed = list(rows(read_file(path), now_ms()))
    data = list(map(token_data, listed))
    say(data, given, table_of(("ID", "TENANT", "CREATED", "EXPIRES", "STATE", "NOTE"), data))
    if path.exists() and all(row.expired for row in listed):
        tell(f"no token in {path} is valid: a proxy that uses this file lets nobody in")
    return EXIT_OK


def list_tenants(given: Arguments) -> int:
    """`tenant list`."""
    data = tenants_data(read_file(path_of(given)))
    head = (
        "TENANT",
        "WEIGHT",
        "PRIORITY",
        "TOKENS",
        "IMAGES",
        "TASK_BYTES",
        "AT_ONCE",
        "STORAGE_BYTES",
        "OPTIONS",
        "LABELS",
    )
    say(data, given, table_of(head, data))
    return EXIT_OK


def set_tenant(given: Arguments) -> int:
    """`tenant set`."""
    path, changes = path_of(given), changes_of(given)
    if not changes:
        raise Refused("nothing is to be changed: name a limit, as --weight 3")
    with changing(path):
        file = read_file(path)
        if given.tenant not in {tenant.name for tenant in file.tenants}:
            raise NotFound(f"there is no tenant {given.tenant!r}; clusterodm token create {given.tenant} begins it")
        file = with_tenant(file, given.tenant, changes)
        write_file(path, file)
    tenant = next(each for each in file.tenants if each.name == given.tenant)
    say(tenant_data(file, tenant), given, f"changed: {given.tenant}")
    return EXIT_OK


def remove_tenant(given: Arguments) -> int:
    """`tenant remove`."""
    path = path_of(given)
    with changing(path):
        write_file(path, without_tenant(read_file(path), given.tenant))
    say({"removed": given.tenant}, given, f"removed: {given.tenant}; its tasks stay, and no token reaches them")
    return EXIT_OK


# --- what they read -----------------------------------------------------------------------------------------------------


def path_of(given: Arguments) -> Path:
    """Find the file."""
    if given.tokens:
        return Path(given.tokens)
    if given.data_dir:
        return Path(given.data_dir) / TOKENS_FILE
    named = os.environ.get("CLUSTERODM_TOKENS", "")
    return Path(named) if named else Path(os.environ.get("CLUSTERODM_DATA_DIR") or DATA_DIR) / TOKENS_FILE


def require_named(given: Arguments) -> None:
    """See that a file is there that was named, unless the word may begin it. Raises Refused."""
    named = given.tokens or ("" if given.data_dir else os.environ.get("CLUSTERODM_TOKENS", ""))
    if named and (given.noun, given.verb) != ("token", "create") and not Path(named).exists():
        raise Refused(f"there is no file of tokens {named}; clusterodm token create begins it")


def changes_of(given: Arguments) -> dict[str, Any]:
    """Read which limits are given. Raises Refused."""
    limits = ("max_images_count", "max_task_bytes", "tasks_at_once_count", "storage_bytes")
    names = ("weight", "priority", *limits, "labels")
    changes = {name: value for name in names if (value := getattr(given, name)) is not None}
    return changes | ({"options": option_limits(given.options)} if given.options else {})


def option_limits(path: str) -> dict[str, OptionLimit]:
    """Read limits of options. Raises Refused."""
    try:
        content = decode_json(read(path).encode(), dict[str, Any])
        inner = content.get("options")
        limits = limits_of(inner if isinstance(inner, dict) else content, lenient=False)
    except Malformed as error:
        raise Refused(f"{path}: {error}") from None
    return limits


# --- what they print ----------------------------------------------------------------------------------------------------


def show_new(given: Arguments, new: NewToken, path: Path) -> int:
    """Print a token, this once."""
    issued = new.issued
    expires = date(issued.expires_at_ms)
    if given.output in PROGRAMS:
        data = {"token": new.token, "id": issued.id, "tenant": issued.tenant, "expires": expires, "file": str(path)}
        say(data, given, "")
        return EXIT_OK
    if given.verb == "rotate" or not given.token_file:
        print(new.token)  # noqa: T201 the program's output
    until = f"until {expires}" if expires else "until it is revoked"
    tell(f"token {issued.id} of tenant {issued.tenant}, {until}. It is shown this once; {path} holds a digest.")
    if doubt := doubt_of(path):
        tell(doubt)
    return EXIT_OK


def doubt_of(path: Path) -> str:
    """Say why tokens of a file do not count yet in the cluster that runs in its directory; empty: they do, or none runs there."""
    counting = tokens_of_running(str(path.parent))
    if counting is None or counting == str(path.absolute()):
        return ""
    instead = f"takes the tokens of {counting}" if counting else "lets everybody in"
    return f"warning: the cluster that runs in {path.parent} {instead}, until it is started again with --tokens {path}"


def say(data: Any, given: Arguments, text: str) -> None:
    """Print an answer."""
    print(written(data, given.output) if given.output in PROGRAMS else text)  # noqa: T201 the program's output


def table_of(head: Sequence[str], data: Sequence[dict[str, Any]]) -> str:
    """Write a table for people."""
    from clusterodm.services.admin.cli.core.tables import PLAIN, table  # what only lists need is loaded by lists
    from clusterodm.services.admin.rendering.columns import cells

    return table(head, cells([cell(row[name.lower()]) for name in head] for row in data), PLAIN)


def cell(value: Any) -> str:
    """Write a value into a table."""
    if not value and value != 0:
        return ""
    return ",".join(value) if isinstance(value, dict | list) else str(value)


def tell(text: str) -> None:
    """Say something beside the answer."""
    print(text, file=sys.stderr)  # noqa: T201 the program's output


def complain(text: str, code: int) -> int:
    """Say what is wrong."""
    tell(f"clusterodm: {printable(text)}")
    return code


ACTS: Final[dict[tuple[str, str], Act]] = {
    ("token", "create"): create_token,
    ("token", "list"): list_tokens,
    ("token", "revoke"): revoke_tokens,
    ("token", "rotate"): rotate_token,
    ("tenant", "list"): list_tenants,
    ("tenant", "set"): set_tenant,
    ("tenant", "remove"): remove_tenant,
}
"""Who carries out which word."""
