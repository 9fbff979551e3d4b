"""Which providers there are, and what is said of one that cannot be loaded."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, Outside
from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor
from clusterodm.services.autoscaler.providers.adapters.kinds import GROUP, OURS, VendorKinds, installed

HERE = "tests.unit.autoscaler.providers.test_kinds"


class Shed:
    """A stranger's kind of provider."""

    @staticmethod
    def read(keys: ObjectReader) -> str:
        return keys.text("door", required=True)

    @classmethod
    def make(cls, context: object) -> object:
        del context
        return cls()


NO_KIND = "a text"


def kinds(**points: str) -> VendorKinds:
    return VendorKinds(lambda: {name: EntryPoint(name, value, GROUP) for name, value in points.items()})


@pytest.fixture(autouse=True)
def this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def test_a_stranger_is_found_by_its_entry_point_and_reads_its_own_keys():
    outside = Outside({}, lambda _path: "", lambda _path: True, kinds(shed=f"{HERE}:Shed"))
    content = {"provider": "shed", "imageSizeMapping": [{"slug": "any", "maxImages": 5}], "keepResults": 0}
    found = read(content | {"door": "left"}, outside)
    assert (found.provider, found.mode, found.own) == ("shed", "api", "left")
    with pytest.raises(Refused, match="door: is missing"):
        read(content, outside)


def test_a_stranger_does_not_get_a_name_that_is_ours():
    known = kinds(hetzner=f"{HERE}:Shed")
    assert known["hetzner"] is HetznerVendor
    assert list(known) == list(OURS)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("no_such_package:Shed", "cannot be loaded: ModuleNotFoundError: No module named", id="no package"),
        pytest.param(f"{HERE}:NoSuch", "cannot be loaded: AttributeError", id="no such class"),
        pytest.param(f"{HERE}:NO_KIND", "is none: it has no read and no make", id="no kind"),
    ],
)
def test_one_that_cannot_be_loaded_is_refused_with_a_line_and_hinders_no_other(value: str, said: str):
    known = kinds(shed=value)
    assert known["hetzner"] is HetznerVendor
    with pytest.raises(Refused, match=said):
        known["shed"]


def test_an_unknown_provider_is_told_all_there_are():
    outside = Outside({}, lambda _path: "", lambda _path: True, kinds(shed=f"{HERE}:Shed"))
    with pytest.raises(Refused, match=r"unknown provider 'sheds', expected one of digitalocean, .*, shed"):
        read({"provider": "sheds"}, outside)


def test_only_the_group_of_providers_is_looked_at():
    assert "clusterodm" not in installed()


HEAVY = ("boto3", "httpx", "libcloud", "lightkube")


def test_no_library_of_a_cloud_is_loaded_before_a_file_names_it():
    program = f"""
import sys
import clusterodm.services.autoscaler.main
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
list(VendorKinds())
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
