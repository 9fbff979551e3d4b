"""How an order is put to each provider."""

from dataclasses import replace
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters import digitalocean, docker_engine, hetzner, scaleway
from clusterodm.services.autoscaler.providers.adapters.command import found_of, trouble_and_message
from clusterodm.services.autoscaler.providers.adapters.docker_engine import container, image_and_tag
from clusterodm.services.autoscaler.providers.adapters.ec2.launch import LaunchPlace, image_query, launch, tags_of
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import usual_trouble
from clusterodm.services.autoscaler.providers.core.order_words import flat_tags, labels, pairs

NAME = MachineId("clusterodm-c1-50-abc")
TAGS = {"clusterodm-cluster": "c1"}
SIZE = Size(slug="big", max_images=50, spot_price=0.25, storage_gb=120)


def order(region: str = "nyc3", size: Size = SIZE, **about_launch: Any) -> Order:
    node = Launch(image="opendronemap/nodeodm", token=Secret("ntok"), **about_launch)
    return Order(name=NAME, offer=Offer(size=size, region=region), launch=node, tags=TAGS)


def without_user_data(body: dict[str, Any]) -> dict[str, Any]:
    assert body["user_data"].startswith("#cloud-config\n")
    return {key: value for key, value in body.items() if key != "user_data"}


def test_a_droplet_is_asked_for_as_digitalocean_wants_it():
    cloud = CloudSettings(ssh_fingerprint="aa:bb", tags=("clusterodm", "team a"), monitoring=True)
    assert without_user_data(digitalocean.droplet(order(), cloud, 7102, "ams3")) == {
        "name": NAME,
        "region": "ams3",
        "size": "big",
        "image": 7102,
        "ssh_keys": ["aa:bb"],
        "monitoring": True,
        "tags": ["clusterodm", "team_a", "clusterodm-cluster:c1"],
    }


def test_a_server_is_asked_for_as_hetzner_wants_it():
    assert without_user_data(
        hetzner.server(order("fsn1"), CloudSettings(tags=("team=a b",)), "ubuntu-24.04", [23])
    ) == {
        "name": NAME,
        "server_type": "big",
        "image": "ubuntu-24.04",
        "location": "fsn1",
        "ssh_keys": [23],
        "labels": {"team": "a_b", "clusterodm-cluster": "c1"},
        "start_after_create": True,
        "public_net": {"enable_ipv4": True, "enable_ipv6": True},
    }


def test_a_server_is_asked_for_as_scaleway_wants_it_and_has_its_user_data_later():
    cloud = CloudSettings(keys={"organization": Secret("org-1")})
    assert scaleway.server(order("par1"), cloud, "ubuntu_jammy") == {
        "name": NAME,
        "commercial_type": "big",
        "image": "ubuntu_jammy",
        "project": "org-1",
        "dynamic_ip_required": True,
        "tags": ["clusterodm-cluster:c1"],
    }


PLACE = LaunchPlace(subnet="subnet-1", zone="us-west-2a", groups=("sg-1",))
IMAGE = {"ImageId": "ami-1", "RootDeviceName": "/dev/xvda"}


def test_an_instance_its_disk_and_its_tags_are_one_call():
    body = launch(order("us-west-2"), CloudSettings(monitoring=True, iam_role="odm"), IMAGE, PLACE)
    tags = [{"Key": "clusterodm-cluster", "Value": "c1"}, {"Key": "Name", "Value": NAME}]
    assert without_user_data(body) == {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": "ami-1",
        "InstanceType": "big",
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"DeleteOnTermination": True, "VolumeType": "gp3", "VolumeSize": 120},
            }
        ],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": "subnet-1",
                "Groups": ["sg-1"],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "Monitoring": {"Enabled": True},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [{"ResourceType": each, "Tags": tags} for each in ("instance", "volume")],
        "IamInstanceProfile": {"Name": "odm"},
    }


def test_a_spot_instance_is_bid_for_once_and_its_request_is_tagged_too():
    body = launch(order(size=replace(SIZE, spot=True)), CloudSettings(), IMAGE, PLACE)
    assert body["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "MaxPrice": "0.25",
        },
    }
    assert [each["ResourceType"] for each in body["TagSpecifications"]][-1] == "spot-instances-request"


def test_a_private_instance_gets_no_public_address():
    body = launch(order(), CloudSettings(private_address_only=True), IMAGE, PLACE)
    assert body["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        pytest.param(("clusterodm",), {"clusterodm": ""}, id="the original's default"),
        pytest.param(("team", "a", "cost", "42"), {"team": "a", "cost": "42"}, id="keys and values in turn"),
        pytest.param(("type,clusterodm",), {"type": "clusterodm"}, id="in one text, as docker-machine takes them"),
        pytest.param(("Name", "mine"), {}, id="the name is the machine's own"),
    ],
)
def test_aws_tags_are_a_list_of_keys_and_values_in_turn(configured: tuple[str, ...], expected: dict[str, str]):
    assert tags_of(configured, order()) == expected | TAGS | {"Name": NAME}


def test_an_image_is_found_by_its_id_or_by_its_name():
    assert image_query("ami-0abc") == {"Filters": [{"Name": "image-id", "Values": ["ami-0abc"]}]}
    assert image_query("ubuntu/*24.04*")["Filters"][0] == {"Name": "name", "Values": ["ubuntu/*24.04*"]}


def test_a_container_is_asked_for_as_docker_wants_it():
    body = container(order("", gpu=True, data_mount="/data"), ("team=a",), "", publish_on="127.0.0.1")
    assert body == {
        "Image": "opendronemap/nodeodm",
        "Cmd": ["-q", "1", "--token", "ntok"],
        "Labels": {"team": "a", "clusterodm-cluster": "c1", "clusterodm.machine": NAME, "clusterodm.size": "big"},
        "ExposedPorts": {"3000/tcp": {}},
        "HostConfig": {
            "PortBindings": {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "Mounts": [{"Type": "bind", "Source": "/data", "Target": "/var/www/data"}],
            "DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}],
        },
    }


def test_a_container_in_a_network_publishes_nothing():
    body = container(order(""), (), "odm", publish_on="")
    assert body["HostConfig"] == {"NetworkMode": "odm"}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("opendronemap/nodeodm", ("opendronemap/nodeodm", "latest"), id="no tag"),
        pytest.param("nodeodm:3.5", ("nodeodm", "3.5"), id="tag"),
        pytest.param("host:5000/odm/nodeodm", ("host:5000/odm/nodeodm", "latest"), id="registry with a port"),
        pytest.param("host:5000/nodeodm:gpu", ("host:5000/nodeodm", "gpu"), id="registry with a port and a tag"),
        pytest.param("nodeodm@sha256:12ab", ("nodeodm", "sha256:12ab"), id="digest"),
    ],
)
def test_an_image_is_split_as_a_pull_wants_it(image: str, expected: tuple[str, str]):
    assert image_and_tag(image) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("unix:///var/run/docker.sock", ("http://docker", "127.0.0.1"), id="socket"),
        pytest.param("tcp://10.0.0.5:2375", ("http://10.0.0.5:2375", "10.0.0.5"), id="tcp"),
        pytest.param("https://engine:2376", ("https://engine:2376", "engine"), id="tls"),
    ],
)
def test_an_engine_is_reached_where_docker_reaches_it(address: str, expected: tuple[str, str]):
    assert docker_engine.reached(address) == expected


def test_an_address_that_is_no_engine_is_refused():
    with pytest.raises(Refused, match=r"ssh://me@there"):
        docker_engine.reached("ssh://me@there")


def test_tags_are_written_as_each_provider_can_take_them():
    configured = ("clusterodm", "team: a", "café=1")
    assert flat_tags(configured, TAGS) == ["clusterodm", "team:_a", "caf__1", "clusterodm-cluster:c1"]
    assert pairs(configured, TAGS) == {"clusterodm": "", "team": " a", "café": "1", "clusterodm-cluster": "c1"}
    assert labels(("-x-=_y_", "l=" + "n" * 70), {}) == {"x": "y", "l": "n" * 63}


JUDGED = [
    pytest.param(
        digitalocean.judge,
        422,
        {"id": "unprocessable_entity", "message": "creating this/these droplet(s) will exceed your droplet limit"},
        Trouble.OUT_OF_CAPACITY,
        id="digitalocean limit",
    ),
    pytest.param(
        digitalocean.judge,
        422,
        {"id": "unprocessable_entity", "message": "Droplet already has a pending event."},
        Trouble.RETRYABLE,
        id="digitalocean busy",
    ),
    pytest.param(
        digitalocean.judge, 422, {"message": "You specified an invalid size"}, Trouble.REFUSED, id="digitalocean wrong"
    ),
    pytest.param(
        hetzner.judge,
        403,
        {"error": {"code": "resource_limit_exceeded", "message": "server limit exceeded"}},
        Trouble.OUT_OF_CAPACITY,
        id="hetzner limit",
    ),
    pytest.param(
        hetzner.judge, 409, {"error": {"code": "uniqueness_error"}}, Trouble.UNKNOWN_OUTCOME, id="hetzner there already"
    ),
    pytest.param(hetzner.judge, 423, {"error": {"code": "locked"}}, Trouble.RETRYABLE, id="hetzner locked"),
    pytest.param(hetzner.judge, 403, {"error": {"code": "forbidden"}}, Trouble.UNAUTHORISED, id="hetzner forbidden"),
    pytest.param(
        scaleway.judge, 503, {"type": "out_of_stock", "resource": "GP1-S"}, Trouble.OUT_OF_CAPACITY, id="scaleway stock"
    ),
    pytest.param(
        scaleway.judge,
        403,
        {"type": "invalid_request_error", "message": "Quota exceeded for this resource."},
        Trouble.OUT_OF_CAPACITY,
        id="scaleway quota in other words",
    ),
    pytest.param(scaleway.judge, 400, {"type": "invalid_arguments"}, Trouble.REFUSED, id="scaleway wrong"),
    pytest.param(
        docker_engine.judge,
        409,
        {"message": 'The container name "/x" is already in use by container "1"'},
        Trouble.UNKNOWN_OUTCOME,
        id="docker there already",
    ),
    pytest.param(docker_engine.judge, 404, {"message": "No such image"}, Trouble.REFUSED, id="docker no image"),
    pytest.param(digitalocean.judge, 502, "<html>", Trouble.RETRYABLE, id="no JSON at all"),
    pytest.param(hetzner.judge, 500, None, Trouble.RETRYABLE, id="nothing at all"),
]


@pytest.mark.parametrize(("judge", "status", "content", "trouble"), JUDGED)
def test_an_error_says_what_it_means_for_the_next_try(judge: Any, status: int, content: Any, trouble: Trouble):
    told, _words = judge(status, content)
    assert (told or usual_trouble(status)) is trouble


@pytest.mark.parametrize(
    ("region", "zone"),
    [
        pytest.param("par1", "fr-par-1", id="old name"),
        pytest.param("nl-ams-2", "nl-ams-2", id="zone"),
        pytest.param("pl-waw", "pl-waw-1", id="region"),
    ],
)
def test_a_zone_of_scaleway_goes_by_all_its_names(region: str, zone: str):
    assert scaleway.zone_of(region) == zone


def test_a_program_may_leave_out_what_is_usual():
    found = found_of({"name": "clusterodm-c1-5-x"})
    assert (found.port, found.running, found.address, found.ref) == (3000, True, "", "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(None, (Trouble.UNKNOWN_OUTCOME, "exit code 1"), id="no JSON"),
        pytest.param({}, (Trouble.UNKNOWN_OUTCOME, "exit code 1"), id="nothing said"),
        pytest.param({"error": {"message": "full"}}, (Trouble.UNKNOWN_OUTCOME, "full"), id="words only"),
        pytest.param(
            {"error": {"trouble": "out-of-capacity", "message": "full"}},
            (Trouble.OUT_OF_CAPACITY, "full"),
            id="trouble and words",
        ),
        pytest.param(
            {"error": {"trouble": "what"}}, (Trouble.UNKNOWN_OUTCOME, "exit code 1"), id="a trouble that is none"
        ),
    ],
)
def test_what_a_program_says_of_its_failure_is_read(answer: Any, expected: tuple[Trouble, str]):
    assert trouble_and_message(answer, Trouble.UNKNOWN_OUTCOME, "exit code 1") == expected
