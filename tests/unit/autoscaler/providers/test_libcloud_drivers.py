"""What each driver of libcloud can do: the table, held to the installed library and to the page."""

import inspect
from pathlib import Path

import pytest
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError
from libcloud.compute.drivers import azure_arm, gce, linode, openstack, vultr
from libcloud.compute.providers import get_driver

from clusterodm.libs.common.errors import Refused, Trouble
from clusterodm.services.autoscaler.config.core.configuration import described
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.libcloud.calls import known_arguments, meaning
from clusterodm.services.autoscaler.providers.core.libcloud_settings import DRIVERS, NO_BOOT, arguments

PAGE = (Path(__file__).parents[4] / "docs" / "libcloud.md").read_text(encoding="utf-8")
CLASSES = {
    "openstack": openstack.OpenStack_2_NodeDriver,
    "vultr": vultr.VultrNodeDriverV2,
    "linode": linode.LinodeNodeDriverV4,
    "gce": gce.GCENodeDriver,
    "azure_arm": azure_arm.AzureNodeDriver,
}
OUTSIDE = Outside({"KEY": "a-key"}, lambda _path: "", lambda _path: True, VendorKinds())
FILE = {
    "provider": "libcloud",
    "driver": "vultr",
    "keys": {"key": {"env": "KEY"}},
    "image": "2284",
    "region": "ewr",
    "imageSizeMapping": [{"slug": "vc2-4c-8gb", "maxImages": 100}],
    "keepResults": 0,
}


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_each_argument_is_one_that_the_installed_driver_takes(name: str):
    kind = CLASSES.get(name) or get_driver(name)
    taken = set(inspect.signature(kind.create_node).parameters)
    found = DRIVERS[name]
    wanted = {found.user_data.partition(":")[0], found.tags, found.spot, found.location} - {""}
    assert wanted <= taken
    assert not found.lookup or hasattr(kind, found.lookup)
    assert {"list_nodes", "destroy_node", "list_sizes", "list_images"} <= set(dir(kind))


@pytest.mark.parametrize("name", sorted(set(DRIVERS) - NO_BOOT))
def test_each_driver_that_is_used_hands_user_data_to_a_machine(name: str):
    assert "cloud-init here" in str(arguments(name, "cloud-init here", (), {}))


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_the_page_has_each_driver_with_what_it_can_do(name: str):
    found = DRIVERS[name]
    row = [yes(found.user_data), yes(found.tags), yes(found.spot), "yes", yes(found.lookup)]
    assert f"| `{name}` | {' | '.join(row)} |" in PAGE


def yes(argument: str) -> str:
    return "yes" if argument else "no"


def test_a_driver_without_user_data_is_refused_with_a_sentence():
    with pytest.raises(Refused, match="driver: 'upcloud' cannot be used: its driver hands no user data to a machine"):
        read({**FILE, "driver": "upcloud"}, OUTSIDE)


def test_an_unknown_driver_is_refused_with_a_sentence():
    with pytest.raises(Refused, match="driver: apache-libcloud has no driver 'vulture'"):
        read({**FILE, "driver": "vulture"}, OUTSIDE)


def test_what_a_driver_does_less_well_is_a_note_of_the_check():
    lines = described(read({**FILE, "driver": "brightbox"}, OUTSIDE)).splitlines()
    assert lines[0].startswith("no mistakes: libcloud by api")
    assert lines[1] == "note: driver: brightbox: machines have no tags there, they are told apart by their names alone"
    assert lines[2].startswith("note: driver: brightbox: a machine cannot be looked up by its id")


def test_names_that_the_installed_driver_does_not_know_are_noted_with_the_nearest_one():
    content = {
        **FILE,
        "driver": "openstack",
        "keys": {"key": "me", "secret": "s", "username": "me"},
        "options": {"ex_force_auth_url": "https://auth.example.org", "ex_force_auth_ulr": "x", "api_version": "2.2"},
        "createOptions": {"ex_security_groups": ["nodes"], "networks": [], "x\ny": 1},
    }
    own = "the driver 'openstack' of the installed libcloud names no such argument"
    found = [line for line in read(content, OUTSIDE).notes if own in line]
    assert found[0] == f"keys.username: {own}"
    assert found[1] == f"options.ex_force_auth_ulr: {own} (did you mean 'ex_force_auth_url'?)"
    assert [line.partition(":")[0] for line in found[2:]] == ["createOptions.x\\u000ay"]


@pytest.mark.parametrize("name", DRIVERS)
def test_what_we_give_a_driver_ourselves_is_among_the_names_that_it_knows(name: str):
    known = known_arguments(name)
    given = {*arguments(name, "text", ("t",), {}), *filter(None, (DRIVERS[name].location, DRIVERS[name].spot))}
    assert given - known.creating == set()
    assert {"key"} - known.making == set()


@pytest.mark.parametrize("name", ["name", "size", "image"])
def test_what_each_order_says_is_refused_among_the_arguments_of_a_creation(name: str):
    with pytest.raises(Refused, match=f"createOptions.{name}: is given by each order"):
        read({**FILE, "createOptions": {name: "x"}}, OUTSIDE)


def test_spot_is_refused_where_the_driver_has_none():
    with pytest.raises(Refused, match="spot: the driver 'vultr' cannot ask for spot machines"):
        read({**FILE, "spot": True}, OUTSIDE)


def test_its_keys_are_secrets_and_may_come_from_elsewhere():
    found = read(FILE, OUTSIDE)
    assert found.own.keys["key"].reveal() == "a-key"
    assert "a-key" not in repr(found)


@pytest.mark.parametrize(
    ("error", "creating", "other"),
    [
        pytest.param(InvalidCredsError(), Trouble.UNAUTHORISED, Trouble.UNAUTHORISED, id="wrong keys"),
        pytest.param(RateLimitReachedError(), Trouble.RETRYABLE, Trouble.RETRYABLE, id="too many requests"),
        pytest.param(
            BaseHTTPError(403, "Quota exceeded for cores"), Trouble.OUT_OF_CAPACITY, Trouble.OUT_OF_CAPACITY, id="quota"
        ),
        pytest.param(BaseHTTPError(400, "no such image"), Trouble.REFUSED, Trouble.REFUSED, id="wrong"),
        pytest.param(BaseHTTPError(503, "later"), Trouble.UNKNOWN_OUTCOME, Trouble.RETRYABLE, id="server error"),
        pytest.param(KeyError("swap"), Trouble.UNKNOWN_OUTCOME, Trouble.RETRYABLE, id="nonsense"),
        pytest.param(OSError("Connection refused"), Trouble.RETRYABLE, Trouble.RETRYABLE, id="not sent"),
        pytest.param(OSError("reset by peer"), Trouble.UNKNOWN_OUTCOME, Trouble.RETRYABLE, id="sent"),
    ],
)
def test_what_a_driver_raises_is_told_apart(error: Exception, creating: Trouble, other: Trouble):
    assert meaning(error, creates=True) is creating
    assert meaning(error, creates=False) is other
