"""What NodeODM does, as one suite that runs against any node.

    pytest tests/contract/test_node.py                                            a simulated node
    pytest tests/contract/test_node.py --node-url http://127.0.0.1:4000           a real one

Every line was seen on a real NodeODM 2.2.4 in test mode. In that mode a number
among the options ends the real program, so no committed task here has one.
"""

import io
import json
import os
import re
import time
import zipfile
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.contract.node_under_test import NodeUnderTest, part
from tests.contract.world import World

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
JSON_TYPE = "application/json; charset=utf-8"
UNKNOWN = "5a0f3c1e-9b7d-4c2a-8e61-3f4d2b1a7c90"
TYPES = {"enum", "int", "float", "bool", "string"}


# The node


def test_info_describes_the_node(node: NodeUnderTest) -> None:
    info = node.get("/info")
    assert list(info) == [
        "version",
        "taskQueueCount",
        "totalMemory",
        "availableMemory",
        "cpuCores",
        "maxImages",
        "maxParallelTasks",
        "engineVersion",
        "engine",
    ]
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])
    assert info["maxImages"] is None or isinstance(info["maxImages"], int)
    for name in ("taskQueueCount", "totalMemory", "availableMemory", "cpuCores", "maxParallelTasks"):
        assert isinstance(info[name], int)


def test_options_are_a_list_of_five_keys_and_string_values(node: NodeUnderTest) -> None:
    options = node.get("/options")
    assert len(options) > 60
    for option in options:
        assert list(option) == ["name", "type", "value", "domain", "help"]
        assert isinstance(option["value"], str)
        assert isinstance(option["help"], str)
        assert option["type"] in TYPES
        assert isinstance(option["domain"], list if option["type"] == "enum" else str)
        assert option["type"] != "enum" or option["value"] in option["domain"]


def test_a_login_is_not_available_and_needs_no_token(node: NodeUnderTest) -> None:
    message = "Authentication not available on this node"
    assert node.get("/auth/info", params={"token": "wrong"}) == {
        "message": message,
        "loginUrl": None,
        "registerUrl": None,
    }
    for action in ("login", "register"):
        assert node.post(f"/auth/{action}", data={"username": "a", "password": "b"}) == {"error": "Not available"}


@pytest.mark.parametrize("token", ["", "wrong", "SECRET"])
def test_a_wrong_token_is_an_error_under_200(node: NodeUnderTest, token: str) -> None:
    if not node.token:
        pytest.skip("the node has no token")
    refusal = {"error": "Invalid authentication token: token does not match."}
    for path in ("/info", "/options", "/task/list", "/task/x/info", "/task/x/download/all.zip"):
        assert node.get(path, params={"token": token}) == refusal
    for path in ("/task/new", "/task/new/init", f"/task/new/upload/{uuid4()}", "/task/cancel", "/task/restart"):
        assert node.post(path, params={"token": token}) == refusal


def test_a_token_sent_twice_is_wrong(node: NodeUnderTest) -> None:
    if not node.token:
        pytest.skip("the node has no token")
    answer = httpx.get(f"{node.url}/info?token={node.token}&token={node.token}", trust_env=False)
    assert "error" in answer.json()


def test_the_one_401_is_for_testing_clients(node: NodeUnderTest) -> None:
    answer = node.http.get("/info", params={"_debugUnauthorized": 1})
    assert answer.status_code == 401
    assert answer.content == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("POST", "/info"),
        ("POST", "/task/list"),
        ("GET", "/task/cancel"),
        ("GET", "/auth/login"),
        ("GET", "/task/x/download"),
        ("POST", "/task/nope"),
        ("DELETE", "/task/x/info"),
    ],
)
def test_anything_unknown_is_a_404_page(node: NodeUnderTest, method: str, path: str) -> None:
    answer = node.http.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<pre>Cannot {method} {path}</pre>" in answer.text


def test_a_slash_at_the_end_makes_no_difference(node: NodeUnderTest) -> None:
    assert "version" in node.get("/info/")


def test_json_says_so_and_any_origin_may_read_it(node: NodeUnderTest) -> None:
    answer = node.http.get("/info", headers={"Origin": "http://elsewhere.example"})
    assert answer.headers["content-type"] == JSON_TYPE
    assert answer.headers["access-control-allow-origin"] == "*"
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_preflight_allows_everything(node: NodeUnderTest) -> None:
    headers = {
        "Origin": "http://elsewhere.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "set-uuid,foo",
    }
    answer = node.http.options("/task/new/init", headers=headers, params={"token": "wrong"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert answer.headers["access-control-allow-headers"] == "set-uuid,foo"


def test_the_page_needs_no_token(node: NodeUnderTest) -> None:
    answer = node.http.get("/", params={"token": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].lower() == "text/html; charset=utf-8"
    assert "<title>" in answer.text


# Initialising


def test_init_answers_a_new_uuid(node: NodeUnderTest) -> None:
    assert UUID.match(node.begun(name="x"))
    assert node.begun() != node.begun()


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_init_takes_any_content_type_and_ignores_what_is_no_form(node: NodeUnderTest, content_type: str) -> None:
    answer = node.raw("/task/new/init", b'{"options":"{bad"}', content_type=content_type)
    assert list(answer) == ["uuid"]


def test_an_initialised_task_is_not_known_yet(node: NodeUnderTest) -> None:
    uuid = node.begun()
    missing = {"error": f"{uuid} not found"}
    assert node.get(f"/task/{uuid}/info") == missing
    assert node.get(f"/task/{uuid}/output") == missing
    assert node.get(f"/task/{uuid}/download/all.zip") == missing
    assert {"uuid": uuid} not in node.get("/task/list")
    for action in ("cancel", "remove", "restart"):
        assert node.act(action, uuid) == {"success": False, **missing}


def test_init_takes_no_files(node: NodeUnderTest) -> None:
    body = part("images", b"x", "a.jpg") + b"--B--\r\n"
    assert node.raw("/task/new/init", body) == {"error": "Unexpected field"}


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        pytest.param(b"x", "multipart/form-data", "Multipart: Boundary not found", id="no boundary"),
        pytest.param(
            part("name", b"x")[:-2], "multipart/form-data; boundary=B", "Unexpected end of multipart data", id="cut"
        ),
        pytest.param(
            part("name", bytes(1_100_000)) + b"--B--\r\n",
            "multipart/form-data; boundary=B",
            "Field value too long",
            id="more than a megabyte",
        ),
    ],
)
def test_a_broken_form_is_an_error(node: NodeUnderTest, body: bytes, content_type: str, error: str) -> None:
    assert node.raw("/task/new/init", body, content_type=content_type) == {"error": error}


@pytest.mark.parametrize("version", "1234567")
def test_set_uuid_takes_the_versions_1_to_7(node: NodeUnderTest, version: str) -> None:
    wanted = str(uuid4())
    wanted = f"{wanted[:14]}{version}{wanted[15:]}"
    assert node.init({"set-uuid": wanted}) == {"uuid": wanted}


@pytest.mark.parametrize(
    "wanted",
    ["nope", "00000000-0000-0000-0000-000000000000", "00000000-0000-8000-8000-000000000001", f"{UNKNOWN}x"],
)
def test_set_uuid_refuses_what_is_no_uuid(node: NodeUnderTest, wanted: str) -> None:
    assert node.init({"set-uuid": wanted}) == {"error": f"Invalid set-uuid: {wanted}"}


def test_set_uuid_refuses_the_uuid_of_a_committed_task(node: NodeUnderTest, finished: str) -> None:
    assert node.init({"set-uuid": finished}) == {"error": f"Invalid set-uuid: {finished}"}


def test_init_again_replaces_the_fields_and_keeps_the_uploads(node: NodeUnderTest) -> None:
    uuid = node.begun(name="first")
    node.upload(uuid, ("a.jpg", b"x"))
    assert node.init({"set-uuid": uuid}, name="second") == {"uuid": uuid}
    assert node.commit(uuid) == {"uuid": uuid}
    info = node.until_ready(uuid)
    assert (info["name"], info["imagesCount"]) == ("second", 1)


def test_init_again_that_is_refused_drops_the_uploads(node: NodeUnderTest) -> None:
    uuid = node.begun(name="first")
    node.upload(uuid, ("a.jpg", b"x"))
    assert "error" in node.init({"set-uuid": uuid}, options="[")
    gone = {"error": "Invalid uuid (not found)"}
    deadline_s = time.monotonic() + 5
    while node.upload(uuid, ("b.jpg", b"x")) != gone and time.monotonic() < deadline_s:
        time.sleep(0.02)  # the answer comes before the files are gone
    assert node.commit(uuid) == gone


# Options


@pytest.mark.parametrize("text", ["", "null", "5", "{}", "[1]", '[{"name":"nope","value":"x"}]'])
def test_options_that_choose_nothing_are_fine(node: NodeUnderTest, text: str) -> None:
    assert list(node.init(options=text)) == ["uuid"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{bad", "Expected property name or '}' in JSON at position 1"),
        ("[", "Unexpected end of JSON input"),
        ("abc", "Unexpected token 'a', \"abc\" is not valid JSON"),
        ("[]x", "Unexpected non-whitespace character after JSON at position 2"),
        ("[null]", "Cannot read properties of null (reading 'name')"),
    ],
)
def test_options_that_are_no_list_are_refused(node: NodeUnderTest, text: str, error: str) -> None:
    assert node.init(options=text) == {"error": error}


def test_all_bad_values_are_told_together_in_the_order_of_the_list(node: NodeUnderTest) -> None:
    chosen = [
        {"name": "dsm", "value": "maybe"},
        {"name": "orthophoto-resolution", "value": "x"},
        {"name": "feature-quality", "value": "xx"},
        {"name": "dtm"},
        {"name": "boundary", "value": "{bad"},
        {"name": "mesh-octree-depth", "value": "15"},
        {"name": "crop", "value": "-1"},
        {"name": "gltf", "value": 1},
        {"name": "tiles", "value": None},
    ]
    answer = node.init(options=json.dumps(chosen))
    assert json.loads(answer["error"]) == [
        {"name": "feature-quality", "error": "Invalid value xx (not in enum)"},
        {"name": "mesh-octree-depth", "error": "Invalid value 15 (out of range)"},
        {"name": "crop", "error": "Invalid value -1 (out of range)"},
        {"name": "boundary", "error": "Invalid value {bad (out of range)"},
        {"name": "gltf", "error": "Cannot convert 1 to boolean"},
        {"name": "dtm", "error": "Cannot convert undefined to boolean"},
        {"name": "dsm", "error": "Cannot convert maybe to boolean"},
        {"name": "orthophoto-resolution", "error": "Invalid value NaN (out of range)"},
        {"name": "tiles", "error": "Cannot convert null to boolean"},
    ]


def test_values_are_converted_and_post_processing_is_turned_on(node: NodeUnderTest) -> None:
    chosen = '[{"name":"dsm","value":"true"},{"name":"dtm","value":"0"},{"name":"cog","value":false}]'
    uuid = node.committed(options=chosen)
    assert node.until_ready(uuid)["options"] == [
        {"name": "dtm", "value": False},
        {"name": "dsm", "value": True},
        {"name": "cog", "value": False},
        {"name": "pc-ept", "value": True},
        {"name": "gltf", "value": True},
    ]


def test_post_processing_can_be_skipped(node: NodeUnderTest) -> None:
    uuid = node.committed(skipPostProcessing="true")
    assert node.until_ready(uuid)["options"] == []


# Uploading


def test_an_upload_without_files_is_an_error(node: NodeUnderTest) -> None:
    path = f"/task/new/upload/{node.begun()}"
    missing = {"error": "Need at least 1 file.", "noRetry": True}
    assert node.post(path) == missing
    assert node.post(path, data={"images": "x"}) == missing
    assert node.raw(path, part("name", b"x") + b"--B--\r\n") == missing
    assert node.raw(path, part("images", b"x", "") + b"--B--\r\n") == missing
    assert node.raw(path, b"this is no form") == missing


def test_an_upload_under_another_field_is_an_error(node: NodeUnderTest) -> None:
    body = part("photos", b"x", "a.jpg") + b"--B--\r\n"
    assert node.raw(f"/task/new/upload/{node.begun()}", body) == {"error": "Unexpected field"}


@pytest.mark.parametrize("uuid", ["xyz", UNKNOWN])
def test_an_unknown_task_takes_no_files_and_no_commit(node: NodeUnderTest, uuid: str) -> None:
    assert node.upload(uuid, ("a.jpg", b"x")) == {"error": "Invalid uuid (not found)"}
    assert node.commit(uuid) == {"error": "Invalid uuid (not found)"}


def test_a_commit_without_files_ends_the_task(node: NodeUnderTest) -> None:
    uuid = node.begun()
    assert node.commit(uuid) == {"error": "Need at least 1 file."}
    assert node.commit(uuid) == {"error": "Invalid uuid (not found)"}


def test_a_second_commit_is_refused(node: NodeUnderTest) -> None:
    uuid = node.committed()
    assert node.commit(uuid) == {"error": "Invalid uuid (not found)"}
    assert node.upload(uuid, ("b.jpg", b"x")) == {"error": "Invalid uuid (not found)"}


def test_a_file_sent_again_is_counted_twice(node: NodeUnderTest) -> None:
    uuid = node.committed(["IMG.JPG", "IMG.JPG", "IMG.JPG", "noext", "noext"])
    assert node.until_ready(uuid)["imagesCount"] == 5


def test_a_file_of_an_upload_cut_off_stays(node: NodeUnderTest) -> None:
    uuid = node.begun()
    node.raw(f"/task/new/upload/{uuid}", part("images", bytes(100_000), "cut.jpg")[:-2], cut=True)
    node.upload(uuid, ("whole.jpg", b"x"))
    assert node.commit(uuid) == {"uuid": uuid}
    assert node.until_ready(uuid)["imagesCount"] == 2


def test_a_refused_form_leaves_no_complete_file(node: NodeUnderTest) -> None:
    uuid = node.begun()
    body = part("images", b"x", "a.jpg") + part("photos", b"x", "b.jpg") + b"--B--\r\n"
    assert node.raw(f"/task/new/upload/{uuid}", body) == {"error": "Unexpected field"}
    assert node.commit(uuid) == {"error": "Need at least 1 file."}


def test_a_form_that_does_not_end_is_an_error(node: NodeUnderTest) -> None:
    body = part("images", b"x" * 1000, "a.jpg")[:-2]
    answer = node.raw(f"/task/new/upload/{node.begun()}", body)
    assert answer == {"error": "Unexpected end of multipart data"}


@pytest.mark.parametrize(
    "name", ["body.json", "../../x.jpg", "a/b.jpg", "c\\d.jpg", "ü €.jpg", "..", ".", "a;b$(c).jpg"]
)
def test_odd_names_are_one_image_each(node: NodeUnderTest, name: str) -> None:
    uuid = node.begun()
    assert node.raw(f"/task/new/upload/{uuid}", part("images", b"x", name) + b"--B--\r\n") == {"success": True}
    assert node.commit(uuid) == {"uuid": uuid}
    assert node.until_ready(uuid)["imagesCount"] == 1


def test_a_name_too_long_for_the_disk_is_an_error(node: NodeUnderTest) -> None:
    body = part("images", b"x", "a" * 300) + b"--B--\r\n"
    answer = node.raw(f"/task/new/upload/{node.begun()}", body)
    assert answer["error"].startswith("ENAMETOOLONG: name too long, open 'tmp/")


def test_control_points_alignment_and_zips_are_no_images(node: NodeUnderTest) -> None:
    uuid = node.committed(["a.jpg", "gcp_list.txt", "GEO.TXT", "align.laz", "b.zip", "aligned.tif"])
    assert node.until_ready(uuid)["imagesCount"] == 2


def test_seed_zip_is_unpacked_into_the_project(node: NodeUnderTest) -> None:
    seed = io.BytesIO()
    with zipfile.ZipFile(seed, "w") as archive:
        archive.writestr("images/from_seed.jpg", b"x")
    uuid = node.begun()
    node.upload(uuid, ("a.jpg", b"x"))
    node.upload(uuid, ("seed.zip", seed.getvalue()))
    assert node.commit(uuid) == {"uuid": uuid}
    assert node.until_ready(uuid)["imagesCount"] == 2


def test_a_broken_seed_fails_the_task(node: NodeUnderTest) -> None:
    uuid = node.committed(["a.jpg", "seed.zip"])
    message = "Could not extract .zip file, unzip exited with code 9"
    assert node.until_ended(uuid)["status"] == {"code": 30, "errorMessage": message}


def test_too_many_images_fail_the_task_after_its_commit(node: NodeUnderTest) -> None:
    limit = node.get("/info")["maxImages"]
    if not limit:
        pytest.skip("the node has no limit")
    uuid = node.begun()
    files = [(f"{number}.jpg", b"x") for number in range(limit + 1)]
    node.upload(uuid, *files)
    assert node.commit(uuid) == {"uuid": uuid}
    text = f"{limit + 1} images uploaded, but this node can only process up to {limit}."
    info = node.until_ended(uuid)
    assert info["status"] == {"code": 30, "errorMessage": text}
    assert (info["processingTime"], info["progress"]) == (-1, 0)
    assert node.post("/task/new", files=[("images", (name, data)) for name, data in files]) == {"error": text}


def test_a_zip_that_was_unpacked_counts_against_the_limit_as_well(node: NodeUnderTest, world: World) -> None:
    limit = node.get("/info")["maxImages"]
    if not limit:
        pytest.skip("the node has no limit")
    url = world.zip("many.zip", {f"{number}.jpg": b"x" for number in range(limit)})
    uuid = node.post("/task/new", files={"zipurl": (None, url)})["uuid"]
    node.made.add(uuid)
    text = f"{limit + 1} images uploaded, but this node can only process up to {limit}."
    assert node.until_ended(uuid)["status"] == {"code": 30, "errorMessage": text}


# One request


def test_a_task_can_be_made_in_one_request(node: NodeUnderTest) -> None:
    wanted = str(uuid4())
    parts = [("images", (f"{number}.jpg", os.urandom(500))) for number in range(3)]
    answer = node.post("/task/new", data={"name": "one"}, files=parts, headers={"set-uuid": wanted})
    node.made.add(wanted)
    assert answer == {"uuid": wanted}
    info = node.until_ready(wanted)
    assert (info["name"], info["imagesCount"]) == ("one", 3)


def test_a_task_in_one_request_needs_files(node: NodeUnderTest) -> None:
    missing = {"error": "Need at least 1 file or a zip file url."}
    assert node.post("/task/new") == missing
    assert node.post("/task/new", data={"zipurl": "http://127.0.0.1:1/x.zip"}) == missing
    assert node.raw("/task/new", part("name", b"x") + b"--B--\r\n") == missing


def test_a_task_in_one_request_checks_its_options(node: NodeUnderTest) -> None:
    fields = {"options": '[{"name":"dsm","value":"x"}]'}
    answer = node.post("/task/new", data=fields, files=[("images", ("a.jpg", b"x"))])
    assert answer == {"error": '[{"name":"dsm","error":"Cannot convert x to boolean"}]'}


def test_a_zip_can_be_downloaded_by_the_node(node: NodeUnderTest, world: World) -> None:
    url = world.zip("images.zip", {"a.jpg": b"1", "folder/b.jpg": b"2", "gcp_list.txt": b"3"})
    uuid = node.post("/task/new", files={"zipurl": (None, url)})["uuid"]
    node.made.add(uuid)
    assert node.until_ready(uuid)["imagesCount"] == 2


def test_a_zip_that_cannot_be_had_fails_the_task(node: NodeUnderTest, world: World) -> None:
    refused, missing = (
        node.post("/task/new", files={"zipurl": (None, url)})["uuid"]
        for url in ("http://127.0.0.1:1/x.zip", f"{world.url}/missing.zip")
    )
    node.made |= {refused, missing}
    assert node.until_ended(refused)["status"] == {"code": 30, "errorMessage": "connect ECONNREFUSED 127.0.0.1:1"}
    message = "Could not extract .zip file, unzip exited with code 9"
    assert node.until_ended(missing)["status"] == {"code": 30, "errorMessage": message}


# A task's life


def test_a_new_task_runs_while_it_is_initialised_and_is_described(node: NodeUnderTest) -> None:
    uuid = node.committed(["a.jpg", "b.jpg"], name="new", dateCreated="1600000000000")
    info = node.info(uuid)
    assert list(info) == [
        "uuid",
        "name",
        "dateCreated",
        "processingTime",
        "status",
        "options",
        "imagesCount",
        "progress",
    ]
    assert (info["uuid"], info["name"], info["dateCreated"], info["imagesCount"]) == (uuid, "new", 1600000000000, 2)
    assert {"uuid": uuid} in node.get("/task/list")


def test_a_name_not_given_is_absent_and_an_empty_one_is_made_up(node: NodeUnderTest) -> None:
    assert "name" not in node.info(node.committed())
    name = node.info(node.committed(name=""))["name"]
    assert re.fullmatch(r"Task of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", name)


def test_a_task_without_a_date_is_dated_now(node: NodeUnderTest) -> None:
    for given in ({}, {"dateCreated": "abc"}):
        created = node.info(node.committed(**given))["dateCreated"]
        assert abs(created / 1000 - time.time()) < 60  # noqa: TID251 - the node's clock is compared with ours


@pytest.mark.slow
def test_tasks_wait_in_the_queue_for_a_free_slot(node: NodeUnderTest) -> None:
    parallel = node.get("/info")["maxParallelTasks"]
    running = [node.committed() for _ in range(parallel)]
    for uuid in running:
        node.until(uuid, lambda info: info["status"]["code"] == 20 and info["processingTime"] >= -1)
    waiting = node.committed()
    info = node.until_ready(waiting)
    assert info["status"] == {"code": 10}
    assert (info["processingTime"], info["progress"]) == (-1, 0)
    assert node.get("/info")["taskQueueCount"] >= parallel + 1
    assert node.until_ended(waiting)["status"] == {"code": 40}
    assert [node.info(uuid)["status"] for uuid in running] == [{"code": 40}] * parallel


def test_a_finished_task_tells_how_long_it_took(node: NodeUnderTest, finished: str) -> None:
    info = node.info(finished)
    assert info["status"] == {"code": 40}
    assert info["progress"] == 100
    assert isinstance(info["processingTime"], int)
    assert info["processingTime"] > 0
    assert info["imagesCount"] == 3


def test_output_is_only_there_when_asked_for(node: NodeUnderTest, finished: str) -> None:
    assert "output" not in node.info(finished)
    assert node.info(finished, with_output=0)["output"] == node.get(f"/task/{finished}/output")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0", slice(None)),
        ("3", slice(3, None)),
        ("-2", slice(-2, None)),
        ("-99999", slice(None)),
        ("1.9", slice(1, None)),
        ("-1.9", slice(-1, None)),
        ("abc", slice(None)),
        ("", slice(None)),
        ("99999", slice(0, 0)),
    ],
)
def test_output_is_cut_like_an_array(node: NodeUnderTest, finished: str, line: str, expected: slice) -> None:
    everything = node.get(f"/task/{finished}/output")
    assert len(everything) > 5
    assert node.get(f"/task/{finished}/output", params={"line": line}) == everything[expected]
    assert node.info(finished, with_output=line)["output"] == everything[expected]


def test_the_last_line_of_a_finished_task_is_about_its_archive(node: NodeUnderTest, finished: str) -> None:
    assert node.get(f"/task/{finished}/output", params={"line": -1}) == ["Compressing all.zip\n"]


def test_an_unknown_task_is_not_found(node: NodeUnderTest) -> None:
    missing = {"error": "xyz not found"}
    for path in ("info", "output", "download/all.zip", "download/other.zip"):
        assert node.get(f"/task/xyz/{path}") == missing
    for action in ("cancel", "remove", "restart"):
        assert node.act(action, "xyz") == {"success": False, **missing}


@pytest.mark.parametrize("action", ["cancel", "remove", "restart"])
def test_actions_take_urlencoded_and_json_and_no_multipart(node: NodeUnderTest, action: str) -> None:
    path = f"/task/{action}"
    absent, missing = {"error": "uuid param missing."}, {"success": False, "error": "xyz not found"}
    assert node.post(path, data={"uuid": "xyz"}) == missing
    assert node.post(path, json={"uuid": "xyz"}) == missing
    assert node.post(path, files={"uuid": (None, "xyz")}) == absent
    assert node.post(path) == absent
    assert node.post(path, data={"uuid": ""}) == absent
    assert node.post(path, json=[]) == absent
    assert node.post(path, content=b"{bad", headers={"content-type": "application/json"}) == {
        "error": "Expected property name or '}' in JSON at position 1"
    }
    assert node.post(path, data={"uuid": "x" * 110_000}) == {"error": "request entity too large"}


def test_a_task_can_be_canceled_restarted_and_removed(node: NodeUnderTest) -> None:
    blocker = node.committed()
    node.until_ready(blocker)
    uuid = node.committed(name="restarted", dateCreated="1600000000000")
    node.until_ready(uuid)
    assert node.act("restart", uuid) == {"success": False, "error": "Task cannot be restarted"}
    assert node.act("cancel", uuid) == {"success": True}
    assert node.act("cancel", uuid) == {"success": True}
    info = node.info(uuid)
    assert (info["status"], info["processingTime"]) == ({"code": 50}, -1)
    assert node.act("restart", uuid, options='[{"name":"dtm","value":true}]') == {"success": True}
    info = node.info(uuid)
    assert info["status"]["code"] in (10, 20)
    assert info["options"][0] == {"name": "dtm", "value": True}
    assert info["dateCreated"] > 1600000000000
    assert node.act("remove", uuid) == {"success": True}
    assert node.info(uuid) == {"error": f"{uuid} not found"}
    assert node.act("remove", uuid) == {"success": False, "error": f"{uuid} not found"}
    assert {"uuid": uuid} not in node.get("/task/list")
    assert node.act("remove", blocker) == {"success": True}


def test_a_restart_checks_its_options(node: NodeUnderTest) -> None:
    bad = '[{"name":"dsm","value":"maybe"}]'
    error = '[{"name":"dsm","error":"Cannot convert maybe to boolean"}]'
    assert node.act("restart", "xyz", options=bad) == {"error": error}


@pytest.mark.slow
def test_a_finished_task_can_run_again_and_keeps_its_options(node: NodeUnderTest) -> None:
    uuid = node.committed(options='[{"name":"dsm","value":true}]', skipPostProcessing="true")
    node.until_ended(uuid)
    assert node.act("restart", uuid) == {"success": True}
    info = node.info(uuid, with_output=0)
    assert info["progress"] < 50
    assert info["options"] == [{"name": "dsm", "value": True}]
    assert node.until_ended(uuid)["status"] == {"code": 40}


def test_removing_a_task_that_is_being_initialised_works(node: NodeUnderTest) -> None:
    uuid = node.committed()
    assert node.act("remove", uuid) == {"success": True}
    assert node.info(uuid) == {"error": f"{uuid} not found"}


# Results


def test_all_zip_is_a_zip_with_the_usual_files(node: NodeUnderTest, finished: str) -> None:
    answer = node.http.get(f"/task/{finished}/download/all.zip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename=all.zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {"odm_orthophoto/odm_orthophoto.tif", "images.json", "task_output.txt"} <= set(archive.namelist())


def test_all_zip_can_be_asked_for_its_headers(node: NodeUnderTest, finished: str) -> None:
    head = node.http.head(f"/task/{finished}/download/all.zip")
    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["content-length"]) > 500


def test_a_range_is_ignored_or_honoured_exactly(node: NodeUnderTest, finished: str) -> None:
    path = f"/task/{finished}/download/all.zip"
    whole = node.http.get(path)
    answer = node.http.get(path, headers={"Range": "bytes=10-19"})
    if "accept-ranges" in whole.headers:
        assert (answer.status_code, answer.content) == (206, whole.content[10:20])
    else:
        assert (answer.status_code, answer.content) == (200, whole.content)


def test_no_other_asset_can_be_downloaded(node: NodeUnderTest, finished: str) -> None:
    for asset in ("orthophoto.tif", "nope", "images.json"):
        assert node.get(f"/task/{finished}/download/{asset}") == {"error": "Invalid asset"}


def test_an_unfinished_task_has_no_asset(node: NodeUnderTest) -> None:
    uuid = node.committed()
    assert node.get(f"/task/{uuid}/download/all.zip") == {"error": "Asset not ready"}


@pytest.mark.slow
def test_only_the_outputs_asked_for_are_in_all_zip(node: NodeUnderTest) -> None:
    wanted = ["odm_orthophoto/odm_orthophoto.tif", "images.json", "nope.txt", "../../etc/passwd"]
    uuid = node.committed(outputs=json.dumps(wanted))
    node.until_ended(uuid)
    answer = node.http.get(f"/task/{uuid}/download/all.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["images.json", "odm_orthophoto/odm_orthophoto.tif"]


# Webhooks


def test_the_webhook_of_a_task_gets_its_info_and_images(node: NodeUnderTest, world: World) -> None:
    uuid = node.committed(name="hooked", webhook=f"{world.url}/hook?token=x")
    path, posted = world.posted.get(timeout=10)
    assert path == "/hook?token=x"
    images: list[dict[str, Any]] = posted.pop("images")
    assert posted == node.info(uuid)
    assert posted["status"] == {"code": 40}
    assert all("filename" in image for image in images)
    assert images


def test_a_webhook_that_fails_is_called_again(node: NodeUnderTest, world: World) -> None:
    world.refuse_next_count = 1
    uuid = node.committed(webhook=f"{world.url}/hook")
    first, second = world.posted.get(timeout=10), world.posted.get(timeout=10)
    assert first[1]["uuid"] == second[1]["uuid"] == uuid


# --- what has ended ------------------------------------------------------------------------------------------------


def test_a_completed_task_is_canceled_keeps_its_results_and_restarts_from_there(node: NodeUnderTest) -> None:
    uuid = node.committed()
    before = node.until_ended(uuid)
    if before["status"]["code"] != 40:
        pytest.skip("this node does not complete it")
    assert node.act("cancel", uuid) == {"success": True}
    after = node.info(uuid)
    assert (after["status"], after["processingTime"], after["progress"]) == ({"code": 50}, -1, before["progress"])
    assert after["dateCreated"] == before["dateCreated"]
    assert node.http.get(f"/task/{uuid}/download/all.zip").content[:2] == b"PK"
    assert node.act("restart", uuid) == {"success": True}
    again = node.until_ended(uuid)
    assert again["status"] == {"code": 40}
    assert again["dateCreated"] > before["dateCreated"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param("application/json", b"true", id="JSON true"),
        pytest.param("application/json", b'{"name":"a"}', id="JSON"),
        pytest.param("application/json", b"{bad", id="malformed JSON"),
        pytest.param("text/plain", b"hello", id="a text"),
    ],
)
def test_an_init_that_is_no_multipart_form_gets_a_uuid(node: NodeUnderTest, kind: str, body: bytes) -> None:
    answer = node.raw("/task/new/init", body, content_type=kind)
    assert list(answer) == ["uuid"]
