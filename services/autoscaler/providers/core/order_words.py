"""How an order is put to whoever carries it out: the command that starts the node, its secrets, its tags.

The command is `docker run` with the flags of NodeODM, the same for every provider. Its words are a list, never a shell line; whoever
needs a line quotes it (`shlex.join`). NodeODM's flags and the keys of its configuration file (`--config`) are those of its config.js;
one task at a time (`-q 1`), as the original does, unless its size says `tasksPerMachine`.

An order's tags are keys and values (the cluster id is one); the configuration's are words, or `key=value` and
`key:value`. Some providers have words only (`flat_tags`), others pairs of a narrow alphabet (`labels`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import NODE_PORT, Launch, S3Target

DATA_DIRECTORY: Final = "/var/www/data"
"""Where NodeODM's image keeps its tasks."""
LONGEST_LABEL: Final = 63
NO_TAG_LETTER: Final = re.compile(r"[^A-Za-z0-9_:-]")
NO_LABEL_LETTER: Final = re.compile(r"[^A-Za-z0-9_.-]")
SEPARATOR: Final = re.compile(r"[=:]")


def run_words(launch: Launch) -> list[str]:
    """Give the whole command, secrets in clear."""
    head = ["docker", "run", "-d", "-p", f"{launch.port}:{NODE_PORT}"]
    return [*head, *container_words(launch), launch.image, *node_words(launch)]


def container_words(launch: Launch) -> Iterator[str]:
    """Give the flags of the container: its data and the graphics card."""
    if launch.data_mount:
        yield from ("--mount", f"type=bind,source={launch.data_mount},target={DATA_DIRECTORY}")
    if launch.gpu:
        yield from ("--gpus", "all")


def node_words(launch: Launch) -> Iterator[str]:
    """Give the flags of the node, secrets in clear."""
    yield from ("-q", str(launch.tasks_at_once_count))
    if launch.max_images:
        yield from ("--max_images", str(launch.max_images))
    if launch.s3:
        yield from storage_words(launch.s3)
    if launch.webhook_url:
        yield from ("--webhook", launch.webhook_url.reveal())
    yield from ("--token", launch.token.reveal())


def storage_words(s3: S3Target) -> Iterator[str]:
    """Give the flags that send results to S3."""
    yield from ("--s3_access_key", s3.access_key.reveal(), "--s3_secret_key", s3.secret_key.reveal())
    yield from ("--s3_endpoint", s3.endpoint, "--s3_bucket", s3.bucket)
    if s3.acl:
        yield from ("--s3_acl", s3.acl)
    if s3.ignore_ssl:
        yield "--s3_ignore_ssl"


def node_configuration(launch: Launch) -> dict[str, Any]:
    """Say the same as NodeODM's configuration file, for machines whose process list others can read."""
    found: dict[str, Any] = {
        "port": launch.port,
        "parallelQueueProcessing": launch.tasks_at_once_count,
        "token": launch.token.reveal(),
    }
    if launch.max_images:
        found["maxImages"] = launch.max_images
    if launch.webhook_url:
        found["webhook"] = launch.webhook_url.reveal()
    if launch.s3:
        found |= storage_configuration(launch.s3)
    return found


def storage_configuration(s3: S3Target) -> dict[str, Any]:
    """Give the keys that send results to S3; one of them is spelled unlike the others."""
    found = {
        "s3AccessKey": s3.access_key.reveal(),
        "s3SecretKey": s3.secret_key.reveal(),
        "s3Endpoint": s3.endpoint,
        "s3Bucket": s3.bucket,
        "s3IgnoreSSL": s3.ignore_ssl,
    }
    return found | ({"s3_acl": s3.acl} if s3.acl else {})


def flat_tags(configured: Sequence[str], ordered: Mapping[str, str]) -> list[str]:
    """Write tags as words of letters, digits, `_`, `-` and `:`; each once, the configured first."""
    words = [*configured, *(f"{key}:{value}" if value else key for key, value in ordered.items())]
    return list(dict.fromkeys(NO_TAG_LETTER.sub("_", word) for word in words))


def pairs(configured: Sequence[str], ordered: Mapping[str, str]) -> dict[str, str]:
    """Write tags as keys and values; what an order says wins."""
    split = [[*SEPARATOR.split(word, maxsplit=1), ""][:2] for word in configured]
    return {key: value for key, value in split if key} | dict(ordered)


def labels(configured: Sequence[str], ordered: Mapping[str, str]) -> dict[str, str]:
    """Write tags as labels: at most 63 letters, digits, `_`, `.` and `-`, the outermost no sign."""
    found = {label(key): label(value) for key, value in pairs(configured, ordered).items()}
    return {key: value for key, value in found.items() if key}


def label(text: str) -> str:
    """Write one key or value of a label."""
    return NO_LABEL_LETTER.sub("_", text)[:LONGEST_LABEL].strip("_.-")


def secrets_of(launch: Launch) -> list[Secret]:
    """Give everything in a launch that must not be shown; the machine's own secret as it stands in its addresses, too: a program may say it alone."""
    addresses = [launch.webhook_url, launch.lease_url, launch.report_url, launch.output_url]
    found = [launch.token, *addresses, *(Secret(each.reveal().partition("=")[2]) for each in addresses)]
    if launch.s3:
        found += [launch.s3.access_key, launch.s3.secret_key]
    if launch.registry:
        found.append(launch.registry.password)
    return [secret for secret in found if secret]
