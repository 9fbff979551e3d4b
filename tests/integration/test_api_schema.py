"""Whatever a client sends to `/api/v1` of a running cluster, it is answered as the API's own document says, and never with a 5xx."""

from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.e2e.up import Up

pytestmark = pytest.mark.slow

EXAMPLES_COUNT = 10
ANSWER_S = 10
STREAMS = "/stream"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("api") / "data", "--demo") as started:
        yield started


def test_every_operation_answers_as_its_schema_says(up: Up) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{up.web_port}/api/v1/openapi.json")
    answered: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if STREAMS in operation.path:
            continue  # without an end

        @settings(
            max_examples=EXAMPLES_COUNT,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def is_answered(case: schemathesis.Case) -> None:
            response = case.call(headers={"X-Requested-With": "a test"}, timeout=ANSWER_S)
            answered[case.operation.label] += 1
            assert response.status_code < 500, response.text
            case.validate_response(response)

        is_answered()
    assert len(answered) > 20


def test_what_changes_something_needs_the_header(up: Up) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{up.web_port}/api/v1/openapi.json")
    operation = schema["/api/v1/nodes/probe"]["POST"]

    assert operation.Case().call(timeout=ANSWER_S).status_code == 403
