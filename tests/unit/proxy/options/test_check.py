"""options/check.py and options/javascript.py: NodeODM's rules for options, in its words."""

import json
import math

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.services.proxy.options import javascript
from clusterodm.services.proxy.options.check import check_options

KNOWN = [
    NodeOption("dsm", "bool", "false", "", ""),
    NodeOption("orthophoto-resolution", "float", "5", "float > 0.0", ""),
    NodeOption("pc-quality", "enum", "medium", ["low", "medium", "high"], ""),
    NodeOption("mesh-octree-depth", "int", "11", "integer: 1 <= x <= 14", ""),
    NodeOption("split", "int", "999999", "positive integer", ""),
    NodeOption("dem-decimation", "int", "1", "positive integer", ""),
    NodeOption("crop", "float", "3", "positive float", ""),
    NodeOption("bias", "float", "0", "negative float", ""),
    NodeOption("any-integer", "int", "0", "integer", ""),
    NodeOption("any-float", "float", "0", "float", ""),
    NodeOption("share", "float", "50", "percent", ""),
    NodeOption("boundary", "string", "", "json", ""),
    NodeOption("sm-cluster", "string", "None", "string", ""),
    NodeOption("gcp", "path", "", "path", ""),
    NodeOption("free-int", "int", "0", "", ""),
    NodeOption("odd", "string", "", "furlongs", ""),
]


def checked(*options: object) -> dict[str, object]:
    return {option.name: option.value for option in check_options(json.dumps(options), KNOWN)}


def complaint(raw: str) -> str:
    with pytest.raises(Refused) as refused:
        check_options(raw, KNOWN)
    return refused.value.message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("dsm", "true", True, id="word true"),
        pytest.param("dsm", "1", True, id="digit one"),
        pytest.param("dsm", "false", False, id="word false"),
        pytest.param("dsm", "0", False, id="digit zero"),
        pytest.param("dsm", True, True, id="boolean"),
        pytest.param("orthophoto-resolution", "2.5cm", 2.5, id="float with rest"),
        pytest.param("orthophoto-resolution", 5.0, 5, id="whole float is written whole"),
        pytest.param("orthophoto-resolution", "1e-3", 0.001, id="exponent"),
        pytest.param("pc-quality", "high", "high", id="enum"),
        pytest.param("mesh-octree-depth", "12.9", 12, id="int cuts the fraction"),
        pytest.param("mesh-octree-depth", 14, 14, id="upper bound"),
        pytest.param("mesh-octree-depth", "0xA", 10, id="hexadecimal"),
        pytest.param("mesh-octree-depth", [7], 7, id="array of one"),
        pytest.param("split", 0, 0, id="zero is positive"),
        pytest.param("bias", "-2", -2, id="negative"),
        pytest.param("any-integer", "-7", -7, id="integer"),
        pytest.param("any-float", "-7.25", -7.25, id="float"),
        pytest.param("share", 100, 100, id="percent"),
        pytest.param("boundary", '{"type": "Polygon"}', '{"type": "Polygon"}', id="json"),
        pytest.param("sm-cluster", "http://x", "http://x", id="string"),
        pytest.param("sm-cluster", 5, "5", id="number as a string"),
        pytest.param("gcp", True, "true", id="boolean as a path"),
        pytest.param("gcp", "/a/b", "/a/b", id="path"),
        pytest.param("free-int", "12", 12, id="no domain"),
    ],
)
def test_a_good_value_is_converted_to_its_options_type(name: str, value: object, expected: object):
    found = checked({"name": name, "value": value})
    assert found == {name: expected}
    assert type(found[name]) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        pytest.param("dsm", "maybe", "Cannot convert maybe to boolean", id="bool"),
        pytest.param("dsm", 1, "Cannot convert 1 to boolean", id="number as bool"),
        pytest.param("dsm", None, "Cannot convert null to boolean", id="null as bool"),
        pytest.param("dsm", {}, "Cannot convert [object Object] to boolean", id="object as bool"),
        pytest.param("orthophoto-resolution", "x", "Invalid value NaN (out of range)", id="NaN"),
        pytest.param("orthophoto-resolution", 0, "Invalid value 0 (out of range)", id="not above the bound"),
        pytest.param("orthophoto-resolution", "Infinity", "Invalid value Infinity (out of range)", id="infinite"),
        pytest.param("pc-quality", "xx", "Invalid value xx (not in enum)", id="enum"),
        pytest.param("pc-quality", "High", "Invalid value High (not in enum)", id="enum in capitals"),
        pytest.param("pc-quality", 1, "Invalid value 1 (not in enum)", id="number as enum"),
        pytest.param("mesh-octree-depth", 15, "Invalid value 15 (out of range)", id="above"),
        pytest.param("mesh-octree-depth", 0, "Invalid value 0 (out of range)", id="below"),
        pytest.param("split", -1, "Invalid value -1 (out of range)", id="negative"),
        pytest.param("split", 1e21, None, id="1e21 is read as 1, as JavaScript does"),
        pytest.param("bias", 0.5, "Invalid value 0.5 (out of range)", id="positive"),
        pytest.param("any-integer", "x", "Invalid value NaN (out of range)", id="not an integer"),
        pytest.param("share", 101, "Invalid value 101 (out of range)", id="percent"),
        pytest.param("boundary", "{", "Invalid value { (out of range)", id="bad json"),
        pytest.param("boundary", {}, "Invalid value [object Object] (out of range)", id="json as an object"),
        pytest.param("sm-cluster", ["a", None], "Invalid value a, (out of range)", id="an array as a string"),
        pytest.param("free-int", "x", "Invalid value NaN (out of range)", id="NaN without a domain"),
        pytest.param("odd", "3", "Domain value cannot be handled: 'furlongs' : '3'", id="unknown domain"),
    ],
)
def test_a_bad_value_is_refused_in_nodeodms_words(name: str, value: object, error: str | None):
    if error is None:
        assert checked({"name": name, "value": value}) == {name: 1}
        return
    assert json.loads(complaint(json.dumps([{"name": name, "value": value}]))) == [{"name": name, "error": error}]


def test_a_missing_value_is_undefined():
    assert complaint('[{"name":"dsm"}]') == '[{"name":"dsm","error":"Cannot convert undefined to boolean"}]'


def test_all_complaints_come_together_in_the_order_of_the_nodes_list():
    raw = json.dumps([{"name": "orthophoto-resolution", "value": "é"}, {"name": "dsm", "value": "maybé"}])
    assert complaint(raw) == (
        '[{"name":"dsm","error":"Cannot convert maybé to boolean"},'
        '{"name":"orthophoto-resolution","error":"Invalid value NaN (out of range)"}]'
    )


def test_accepted_options_come_in_the_order_of_the_nodes_list():
    raw = '[{"name":"split","value":3},{"name":"dsm","value":true}]'
    assert [option.name for option in check_options(raw, KNOWN)] == ["dsm", "split"]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="no field"),
        pytest.param("", id="empty, as NodeODM"),
        pytest.param("{}", id="object"),
        pytest.param('{"a":1}', id="object with a key"),
        pytest.param("5", id="number"),
        pytest.param("null", id="null"),
        pytest.param('"x"', id="string"),
        pytest.param("[]", id="empty array"),
        pytest.param('[1,"a",null,[],true]', id="array of anything"),
        pytest.param('[{"name":"nosuch","value":1}]', id="unknown name"),
        pytest.param('[{"name":["dsm"],"value":1},{}]', id="no proper name"),
        pytest.param('[{"name":"sm-cluster","value":null},{"name":"gcp"}]', id="text without a value"),
    ],
)
def test_what_holds_no_known_option_is_no_options(raw: str | None):
    assert check_options(raw, KNOWN) == ()


def test_of_two_options_of_one_name_the_first_counts():
    assert checked({"name": "split", "value": 1}, {"name": "split", "value": -1}) == {"split": 1}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param("{bad", "Unexpected token b in JSON at position 1", id="bare word as a key"),
        pytest.param("[", "Unexpected end of JSON input", id="open array"),
        pytest.param(" ", "Unexpected end of JSON input", id="blank"),
        pytest.param("[1 2]", "Unexpected number in JSON at position 3", id="missing comma"),
        pytest.param('["a" "b"]', "Unexpected string in JSON at position 5", id="two strings"),
        pytest.param("[1,]", "Unexpected token ] in JSON at position 3", id="comma at the end"),
        pytest.param('{"a":1,}', "Unexpected token } in JSON at position 7", id="comma at the end of an object"),
        pytest.param('{"a" 1}', "Unexpected number in JSON at position 5", id="missing colon"),
        pytest.param("[]x", "Unexpected token x in JSON at position 2", id="something behind"),
        pytest.param("nul", "Unexpected token n in JSON at position 0", id="half a word"),
        pytest.param("nulx", "Unexpected token n in JSON at position 0", id="wrong word"),
        pytest.param("[NaN]", "Unexpected token N in JSON at position 1", id="NaN"),
        pytest.param("[Infinity]", "Unexpected token I in JSON at position 1", id="Infinity"),
        pytest.param("01", "Unexpected number in JSON at position 1", id="leading zero"),
        pytest.param("1.", "Unexpected token . in JSON at position 1", id="half a number"),
        pytest.param("[1.x]", "Unexpected token . in JSON at position 2", id="no fraction"),
        pytest.param("[1e+]", "Unexpected token e in JSON at position 2", id="no exponent"),
        pytest.param("-", "Unexpected number in JSON at position 0", id="minus alone"),
        pytest.param("-x", "Unexpected number in JSON at position 0", id="minus a word"),
        pytest.param('"a\nb"', "Unexpected token \n in JSON at position 2", id="line break in a string"),
        pytest.param('"\\x"', "Unexpected token \\ in JSON at position 1", id="bad escape"),
        pytest.param('"\\u12g4"', "Unexpected token u in JSON at position 2", id="bad unicode escape"),
        pytest.param('"abc', "Unexpected end of JSON input", id="open string"),
        pytest.param("'a'", "Unexpected token ' in JSON at position 0", id="single quotes"),
        pytest.param("[" * 100_000, "The JSON is nested too deeply", id="nested without end"),
        pytest.param("[" * 100_000 + "]" * 100_000, "The JSON is nested too deeply", id="nested deeply"),
        pytest.param("[" * 500 + "x", "Unexpected token x in JSON at position 500", id="fault in the depth"),
    ],
)
def test_bad_json_is_refused_in_the_words_of_v8(raw: str, text: str):
    assert complaint(raw) == text


def test_a_number_beyond_everything_is_out_of_range():
    assert json.loads(complaint('[{"name":"crop","value":1e400}]')) == [
        {"name": "crop", "error": "Invalid value Infinity (out of range)"}
    ]


def test_a_number_of_five_thousand_digits_does_no_harm():
    assert "out of range" in complaint(f'[{{"name":"crop","value":{"9" * 5000}}}]')


def test_half_a_surrogate_pair_is_replaced():
    assert checked({"name": "sm-cluster", "value": "\ud800x"}) == {"sm-cluster": "?x"}


def test_without_a_list_options_pass_unchecked():
    raw = '[{"name":"anything","value":"x"},null,{"name":"n","value":3},{"name":"anything","value":"y"},{"name":"no"}]'
    assert check_options(raw, []) == (OptionValue("anything", "x"), OptionValue("n", 3))


def test_without_a_list_what_no_option_can_be_is_still_refused():
    with pytest.raises(Refused, match="out of range"):
        check_options('[{"name":"a","value":1e999}]', [])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(5.5, "5.5", id="plain"),
        pytest.param(100.0, "100", id="whole"),
        pytest.param(0.000001, "0.000001", id="smallest plain"),
        pytest.param(0.0000001, "1e-7", id="small"),
        pytest.param(1e20, "100000000000000000000", id="largest plain"),
        pytest.param(1.5e21, "1.5e+21", id="large"),
        pytest.param(-0.0, "0", id="negative zero"),
        pytest.param(math.inf, "Infinity", id="infinite"),
        pytest.param(-math.inf, "-Infinity", id="negative infinite"),
        pytest.param(math.nan, "NaN", id="no number"),
        pytest.param(-1234.5678, "-1234.5678", id="negative"),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(number: float, text: str):
    assert javascript.number_text(number) == text
