"""An `--asr` file is checked at once, and every mistake is one line."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.adapters import check_file, read_file
from clusterodm.services.autoscaler.config.core.configuration import API, DOCKER_MACHINE, Configuration
from clusterodm.services.autoscaler.config.core.file import parse, read
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.orders import Size, masked
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from tests.asr_files import AWS, DIGITALOCEAN, FILES, HETZNER, S3, SECRETS, mistakes_in

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
NOWHERE = Outside({}, lambda path: Path(path).read_text(), lambda _path: False, VendorKinds())


def check(content: object, outside: Outside = NOWHERE) -> Configuration:
    return read(content, outside)


mistakes = partial(mistakes_in, check)


@pytest.mark.parametrize("provider", FILES)
def test_a_file_of_the_original_works_unchanged(provider: str):
    found = check(FILES[provider])
    assert (found.provider, found.mode) == (provider, DOCKER_MACHINE)
    assert found.limits.sizes[0].max_images < found.limits.sizes[-1].max_images
    assert (found.limits.idle_timeout_s, found.limits.tasks_per_machine_count) == (0, 1)
    assert found.node.s3 is not None
    assert found.node.s3.bucket == "results"


def test_every_figure_of_a_file_arrives():
    found = check(
        DIGITALOCEAN
        | {
            "maxRuntime": 7200,
            "maxUploadTime": 600,
            "minImages": 3,
            "idleTimeout": 60,
            "maxTasksPerMachine": 0,
            "maxHourlyCost": 2,
            "mode": "api",
            "downloads": "stream",
            "createTimeout": 5,
            "labels": ["gpu", "tenant=survey", "gpu"],
            "warm": [{"machines": 2, "maxImages": 40, "from": "22:30", "to": "06:00", "days": ["fri"]}],
            "imageSizeMapping": [
                {"maxImages": 90, "slug": "big", "pricePerHour": 1, "maxGigabytes": 2.5, "memoryGigabytes": 16},
                {"maxImages": 40, "slug": "small", "pricePerHour": 0.5},
            ],
        }
    )
    assert found.mode == API
    assert found.downloads == "stream"
    assert found.timeouts.create_s == 5
    limits = found.limits
    assert limits.sizes == (
        Size(slug="small", max_images=40, price_per_hour=0.5),
        Size(slug="big", max_images=90, price_per_hour=1, max_bytes=2_500_000_000, memory_bytes=16_000_000_000),
    )
    assert (limits.machines_count, limits.regions, limits.create_retries) == (30, ("sfo2", "sfo1"), 2)
    assert (limits.max_runtime_s, limits.max_upload_s, limits.min_images) == (7200, 600, 3)
    assert (limits.idle_timeout_s, limits.tasks_per_machine_count, limits.max_hourly_cost) == (60, 0, 2)
    assert limits.labels == ("gpu", "tenant=survey")
    warm = limits.warm[0]
    assert (warm.machines_count, warm.max_images) == (2, 40)
    assert (warm.from_minute, warm.to_minute, warm.days) == (22 * 60 + 30, 6 * 60, (4,))


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param([], "the file must hold a JSON object", id="not an object"),
        pytest.param({}, "the file names no provider, one of", id="no provider"),
        pytest.param({"provider": "azure"}, "unknown provider 'azure'", id="unknown provider"),
        pytest.param({"provider": ["aws"]}, "unknown provider ['aws']", id="provider of the wrong type"),
        pytest.param(DIGITALOCEAN | {"accessToken": "CHANGEME!"}, "accessToken: is still 'CHANGEME!'", id="CHANGEME!"),
        pytest.param(DIGITALOCEAN | {"accessToken": "CHANGEME"}, "accessToken: is still 'CHANGEME'", id="CHANGEME"),
        pytest.param(without(HETZNER, "apiToken"), "apiToken: is missing", id="no token"),
        pytest.param(HETZNER | {"apiToken": ""}, "apiToken: is missing", id="empty token"),
        pytest.param(without(HETZNER, "s3"), "s3: is missing", id="no s3"),
        pytest.param(
            DIGITALOCEAN | {"s3": {**DIGITALOCEAN["s3"], "bucket": "CHANGEME!"}}, "s3.bucket: is still", id="no bucket"
        ),
        pytest.param(
            DIGITALOCEAN | {"dropletLimit": 3},
            "dropletLimit: unknown key (did you mean 'dropletsLimit'?)",
            id="unknown",
        ),
        pytest.param(AWS | {"dropletsLimit": 3}, "dropletsLimit: unknown key", id="another provider's key"),
        pytest.param(AWS | {"maxRuntime": "1h"}, "maxRuntime: must be a whole number", id="text for a number"),
        pytest.param(AWS | {"maxRuntime": True}, "maxRuntime: must be a whole number", id="true for a number"),
        pytest.param(AWS | {"maxRuntime": -5}, "maxRuntime: is -5, must be at least 1 (or -1)", id="negative"),
        pytest.param(AWS | {"spot": "yes"}, "spot: must be true or false", id="text for a flag"),
        pytest.param(AWS | {"region": [1]}, "region: must be a text or a list of texts", id="wrong list"),
        pytest.param(AWS | {"imageSizeMapping": {}}, "imageSizeMapping: must be a list of objects", id="bad mapping"),
        pytest.param(AWS | {"imageSizeMapping": []}, "imageSizeMapping: must have at least one", id="empty mapping"),
        pytest.param(
            AWS | {"imageSizeMapping": [{"maxImages": 5, "storage": 1, "spotPrice": 1}]},
            "imageSizeMapping[0].slug: is missing",
            id="mapping without slug",
        ),
        pytest.param(
            HETZNER | {"imageSizeMapping": [{"slug": "a"}]}, "imageSizeMapping[0].maxImages: is missing", id="no count"
        ),
        pytest.param(
            AWS | {"imageSizeMapping": [{"slug": "a", "maxImages": 1, "storage": 9}]},
            "imageSizeMapping[0].spotPrice: is missing (spot is true)",
            id="no bid",
        ),
        pytest.param(
            HETZNER | {"imageSizeMapping": [{"slug": "a", "maxImages": 1, "maxGigabyte": 9}]},
            "imageSizeMapping[0].maxGigabyte: unknown key (did you mean 'maxGigabytes'?)",
            id="unknown key in a mapping",
        ),
        pytest.param(
            HETZNER | {"sshKey": {"fingerprint": "", "path": "/no/such/key"}},
            "sshKey.path: /no/such/key: file does not exist",
            id="key file missing",
        ),
        pytest.param(HETZNER | {"maxDailyCost": 1}, "imageSizeMapping: a budget needs pricePerHour", id="no prices"),
        pytest.param(HETZNER | {"mode": "ssh"}, "mode: is 'ssh', expected 'docker-machine' or 'api'", id="mode"),
        pytest.param(
            HETZNER | {"warm": [{"maxImages": 1, "from": "8"}]}, "warm[0].from: is '8', expected a time", id="time"
        ),
        pytest.param(HETZNER | {"labels": ["a b"]}, "labels: 'a b' is no label", id="label"),
        pytest.param(
            HETZNER | {"warm": [{"maxImages": 1, "days": "monday"}]}, "warm[0].days: 'monday' is no day", id="day"
        ),
        pytest.param(
            HETZNER | {"warm": [{"maxImages": 51}]}, "warm[0].maxImages: is 51, the largest size takes 50", id="warm"
        ),
        pytest.param(
            HETZNER | {"apiToken": {"env": "NONE"}}, "apiToken: the environment has no NONE", id="no variable"
        ),
        pytest.param(HETZNER | {"apiToken": {"var": "X"}}, "apiToken: must be a text, ", id="no place"),
        pytest.param(
            HETZNER | {"apiToken": {"file": "/no/such/file"}}, "apiToken: /no/such/file: No such file", id="no file"
        ),
        pytest.param({"provider": "command"}, "create: is missing: the program to call", id="no programs"),
        pytest.param({"provider": "docker"}, "s3: is missing: results would go with their machine", id="no place"),
    ],
)
def test_a_mistake_is_told_in_a_line_that_names_the_key(content: object, line: str):
    assert any(found.startswith(line) for found in mistakes(content)), mistakes(content)


def test_a_file_without_a_bucket_has_to_say_how_long_results_can_be_fetched():
    content = {"provider": "docker", "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}
    found = check(content | {"keepResults": 600})
    assert (found.node.s3, found.limits.keep_results_s) == (None, 600)
    assert check(content | {"keepResults": 0}).limits.keep_results_s == 0


def test_all_mistakes_are_told_at_once():
    found = mistakes(AWS | {"accessKey": "CHANGEME!", "maxRuntime": "x", "colour": "red"})
    assert [line.partition(":")[0] for line in found] == ["accessKey", "maxRuntime", "colour"]


def test_a_mistake_never_repeats_a_secret():
    found = mistakes(HETZNER | {"apiToken": 12345678, "s3": {**HETZNER["s3"], "secretKey": ["hidden-key"]}})
    assert not any("12345678" in line or "hidden-key" in line for line in found)


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("from-file\n")
    outside = Outside({"TOKEN": "from-env"}, lambda name: Path(name).read_text(), lambda _name: True, VendorKinds())
    found = check(
        HETZNER | {"apiToken": {"env": "TOKEN"}, "s3": {**HETZNER["s3"], "secretKey": {"file": str(path)}}}, outside
    )
    assert found.key("apiToken").reveal() == "from-env"
    assert found.node.s3 is not None
    assert found.node.s3.secret_key.reveal() == "from-file"


@pytest.mark.parametrize("provider", FILES)
def test_no_secret_shows_in_a_repr(provider: str):
    found = check(FILES[provider])
    assert not any(secret in repr(found) for secret in SECRETS[provider])
    assert {secret.reveal() for secret in found.secrets} == set(SECRETS[provider])


def test_masking_replaces_the_longest_secret_first():
    assert masked("a=abcdef b=abcd c=xy", [Secret("abcd"), Secret("abcdef"), Secret("xy")]) == "a=*** b=*** c=xy"


def test_on_aws_the_account_keys_serve_for_the_bucket():
    s3 = check(AWS).node.s3
    assert s3 is not None
    assert (s3.access_key.reveal(), s3.secret_key.reveal(), s3.acl) == ("AWSACCESSKEY", "aws-secret-key", "none")


@pytest.mark.parametrize(("given", "ratio"), [(1, 1), (0.5, 0.5), (0, 0), (False, 0), (True, 1), (None, 1)])
def test_swap_is_a_part_of_the_memory(given: object, ratio: float):
    assert check(HETZNER | {"addSwap": given}).node.swap_ratio == ratio


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param({"a\nb\x1b[31m": 1}, "a\\u000ab\\u001b[31m: unknown key", id="what steers a terminal"),
        pytest.param({"createRate": 10**400}, f"createRate: is larger than {2**53}", id="no number of anything"),
    ],
)
def test_mistakes_are_one_short_line_each(content: dict[str, Any], told: str):
    assert mistakes(HETZNER | content) == [told]


def test_a_size_that_is_wrong_is_told_once():
    sizes = [{**size, "maxImages": "x"} for size in HETZNER["imageSizeMapping"][:1]]
    assert mistakes(HETZNER | {"imageSizeMapping": sizes}) == ["imageSizeMapping[0].maxImages: must be a whole number"]


def test_a_comma_behind_the_last_entry_is_forgiven():
    text = json.dumps(HETZNER)[:-1] + ', "tags": ["a,]", ], }'
    assert parse(text, NOWHERE).cloud.tags == ("a,]",)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("asr-*.json")), ids=lambda path: path.stem)
def test_the_examples_of_the_documentation_are_correct(path: Path):
    environment = dict.fromkeys(
        [f"{owner}_{key}" for owner in ("S3", "AWS") for key in ("ACCESS_KEY", "SECRET_KEY", "ACCESS_KEY_ID")]
        + ["DIGITALOCEAN_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "SCALEWAY_ORGANIZATION", "SCALEWAY_TOKEN"],
        "made-up",
    )
    assert parse(
        path.read_text(), Outside(environment, lambda _name: "made-up", lambda _name: True, VendorKinds())
    ).limits.sizes


async def test_no_file_is_no_configuration():
    assert await read_file("", VendorKinds()) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("{", "not valid JSON", id="broken JSON"),
        pytest.param("\xff", "not valid JSON", id="not UTF-8"),
        pytest.param('{"provider": "nope"}', "unknown provider 'nope'", id="unknown provider"),
    ],
)
async def test_a_mistake_in_the_file_is_told_with_its_path(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "asr.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=f"asr.json: .*{sentence}"):
        await read_file(str(path), VendorKinds())


ELSEWHERE = S3 | {name: {"env": "KEY"} for name in ("accessKey", "secretKey")}


@pytest.mark.parametrize(
    ("keys", "bits", "told"),
    [
        pytest.param({}, 0o644, ["asr.json"], id="keys in the file itself"),
        pytest.param({}, 0o600, [], id="in a file of its user"),
        pytest.param({"accessToken": {"file": "KEY"}, "s3": ELSEWHERE}, 0o644, ["key"], id="in a file that it names"),
        pytest.param({"accessToken": {"env": "KEY"}, "s3": ELSEWHERE}, 0o644, [], id="in the environment"),
    ],
)
async def test_files_with_keys_that_other_users_may_read_are_told(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], bits: int, told: list[str]
):
    monkeypatch.setenv("KEY", "made-up")
    path, key = shared_folder / "asr.json", shared_folder / "key"
    path.write_text(json.dumps(DIGITALOCEAN | keys).replace('{"file": "KEY"}', json.dumps({"file": str(key)})))
    key.write_text("made-up")
    for each in (path, key):
        each.chmod(bits)
    with capture_logs() as lines:
        await read_file(str(path), VendorKinds())
    assert [(line["event"], line["flag"], Path(line["path"]).name) for line in lines] == [
        ("secret.exposed", "--asr", name) for name in told
    ]


def test_a_missing_file_is_told_with_its_path(tmp_path: Path):
    with pytest.raises(Refused, match=r"missing\.json: No such file"):
        check_file(str(tmp_path / "missing.json"), {}, VendorKinds())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(
            {**DIGITALOCEAN, "image": "ubuntu-16-04-x64"}, ["image: 'ubuntu-16-04-x64' is retired"], id="image"
        ),
        pytest.param(
            {**HETZNER, "imageSizeMapping": [{"slug": "cx11", "maxImages": 5}, {"slug": "cx33", "maxImages": 9}]},
            ["imageSizeMapping: 'cx11' is retired"],
            id="size",
        ),
        pytest.param({**DIGITALOCEAN, "image": "my-snapshot", "snapshot": True}, [], id="one of their own"),
    ],
)
def test_what_a_cloud_has_retired_is_accepted_with_a_line(content: dict[str, Any], said: list[str]):
    notes = read(content, NOWHERE).notes
    assert len(notes) == len(said)
    assert all(note.startswith(sentence) for note, sentence in zip(notes, said, strict=True))
