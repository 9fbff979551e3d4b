"""JSON that operators write."""

import pytest

from clusterodm.libs.common.untrusted import DEEPEST, read_json


@pytest.mark.parametrize("text", ['{"a": [1, {"b": null}]}', "3", '"x"', "[" * DEEPEST + "]" * DEEPEST])
def test_what_is_json_is_read(text: str):
    assert str(read_json(text)).replace("'", '"').replace("None", "null") == text.strip('"')


@pytest.mark.parametrize("count", [DEEPEST + 1, 900, 100_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_deeply_is_refused_like_all_that_is_none(count: int, begin: str, end: str):
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(begin * count + "1" + end * count)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "c": 2, "a": 3}]}'])
def test_a_key_that_stands_twice_is_a_mistake(text: str):
    with pytest.raises(ValueError, match="the key 'a' stands twice in one object"):
        read_json(text)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_takes_for_a_number_is_a_mistake(name: str):
    with pytest.raises(ValueError, match=f"^{name} is no number of JSON$"):
        read_json(f'{{"drain-s": {name}}}')


def test_a_mistake_is_told_with_its_line():
    with pytest.raises(ValueError, match="line 2 column 5"):
        read_json('{\n"a":}')
