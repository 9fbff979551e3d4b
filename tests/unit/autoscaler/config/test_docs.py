"""docs/autoscaler.md knows every key of the file, and no other."""

import re
from pathlib import Path

import pytest

from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from tests.asr_files import OUTSIDE

REPOSITORY = Path(__file__).parents[4]
PAGE = (REPOSITORY / "docs" / "autoscaler.md").read_text(encoding="utf-8")
KUBERNETES = (REPOSITORY / "docs" / "kubernetes-machines.md").read_text(encoding="utf-8")
KEY = re.compile(
    r'\w+\.(?:text|texts|flag|count|limit|amount|ratio|choice|secret|section|entries|existing|named|address)\(\s*"(\w+)"'
)
BUILT = {
    "providers",
    "dropletsLimit",
    "instanceLimit",
    "machinesLimit",
    "region",
    "location",
    "create",
    "list",
    "destroy",
    "from",
    "to",
}
"""Keys whose name is put together before it is asked for."""


def keys_of_the_code() -> set[str]:
    """Every key that the reader is asked for."""
    autoscaler = REPOSITORY / "services/autoscaler"
    files = [autoscaler / "config/core/file.py", autoscaler / "config/core/limits.py"]
    texts = [path.read_text() for path in (*files, *(autoscaler / "providers").rglob("*.py"))]
    return {key for text in texts for key in KEY.findall(text)} | BUILT | {"provider"}


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("key", sorted(keys_of_the_code()))
def test_every_key_of_the_file_is_explained(key: str):
    assert re.search(rf"`{key}`|\"{key}\"", PAGE + KUBERNETES)


def test_no_key_is_explained_that_does_not_exist():
    page = PAGE.partition("## Every key")[2].partition("### What is one provider's")[0]
    explained = {key for line in rows(page) for key in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert explained - keys_of_the_code() == set()


def test_the_example_of_machines_that_are_used_again_means_what_the_page_says():
    found = parse(example("## Machines that are used again"), OUTSIDE).limits
    (size,) = found.sizes
    assert (found.target_wait_s, found.create_rate_count, found.tasks_per_machine_count) == (600, 20, 0)
    assert (size.billed_unit_s, size.tasks_at_once_count, size.memory_bytes) == (3600, 2, 16_000_000_000)


def example(heading: str) -> str:
    """Make a whole file of the indented keys under a heading."""
    section = PAGE.partition(heading)[2].partition("\n## ")[0]
    keys = " ".join(line.strip() for line in section.splitlines() if line.startswith('    "'))
    return f'{{"provider": "docker", "keepResults": 0, {keys}}}'


def test_the_docker_example_of_the_page_has_no_mistake():
    (example,) = re.findall(r"`(\{\"provider\": \"docker\".*?\})` \|", PAGE)
    found = parse(example, OUTSIDE)
    assert (found.provider, found.limits.keep_results_s) == ("docker", 600)


def read_example(name: str) -> Configuration:
    """Read a whole file of docs/examples, wherever its secrets are to come from."""
    text = (REPOSITORY / "docs/examples" / name).read_text(encoding="utf-8")
    environment = dict.fromkeys(re.findall(r'"env": "(\w+)"', text), "value")
    return parse(text, Outside(environment, lambda _path: "value", lambda _path: True, VendorKinds()))


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "docs/examples").glob("asr-*.json")))
def test_an_example_file_has_no_mistake(name: str):
    assert read_example(name).limits.sizes


def test_the_example_with_several_providers_means_what_the_page_says():
    found = read_example("asr-several.json")
    assert {name: part.limits.machines_count for name, part in found.parts.items()} == {
        "hetzner": 10,
        "aws-frankfurt": 20,
    }
    assert found.limits.machines_count == 30
    assert len({part.node.s3 for part in found.parts.values()}) == 1


def test_the_file_to_try_without_a_cloud_has_no_mistake():
    (text,) = re.findall(r"```json\n(\{\"provider\": \"docker\".*?)```", PAGE, re.DOTALL)
    found = parse(text, OUTSIDE)
    assert found.notes == ()
    assert [(size.slug, size.gpu) for size in found.limits.sizes] == [("small", False), ("card", True)]
    assert found.limits.warm[0].machines_count == 1
