"""A session is found among whatever cookies other programs at the same name have left."""

import pytest

from clusterodm.services.admin.signin.api import cookie

NAME = "clusterodm_session"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param(f"{NAME}=abc-_1", "abc-_1", id="alone"),
        pytest.param(f"csrftoken=x; {NAME}=abc", "abc", id="behind another"),
        pytest.param(f'prefs={{"a": 1}}; {NAME}=abc', "abc", id="behind JSON"),
        pytest.param(f"a b=c d; {NAME}=abc", "abc", id="behind white space"),
        pytest.param(f"päge=1; {NAME}=abc", "abc", id="behind no ASCII"),
        pytest.param(f"path=/; {NAME}=abc", "abc", id="behind the name of an attribute"),
        pytest.param(f"flag; {NAME}=abc;", "abc", id="behind one without a value"),
        pytest.param(f"{NAME}=abc; {NAME}x=y; x{NAME}=z", "abc", id="before longer names"),
        pytest.param(f"x{NAME}=z", "", id="not there"),
        pytest.param("", "", id="none at all"),
    ],
)
def test_a_session_is_found_beside_the_cookies_of_others(line: str, found: str):
    assert cookie({"cookie": line}, NAME) == found
