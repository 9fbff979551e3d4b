"""core/task_views.py: where results are fetched."""

import pytest

from clusterodm.libs.common.messages.health import SettingInForce
from clusterodm.libs.common.messages.overview import SpoolReport
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.services.admin.web.core.task_views import results_url


def a_spool(**settings: str) -> SpoolReport:
    told = tuple(
        SettingInForce(name=name.replace("_", "-"), value=value, source="flag") for name, value in settings.items()
    )
    return SpoolReport(instance=InstanceId("p"), settings=told)


@pytest.mark.parametrize(
    ("spools", "host", "url"),
    [
        pytest.param([a_spool(port="3000")], "admin.local", "http://admin.local:3000", id="a proxy beside the page"),
        pytest.param([a_spool(port="3000")], "::1", "http://[::1]:3000", id="by IPv6"),
        pytest.param(
            [a_spool(port="3000"), a_spool(port="3000", public_address="https://odm.example/")],
            "admin.local",
            "https://odm.example",
            id="its public address",
        ),
        pytest.param(
            [a_spool(port="3000", secure_port="3443", ssl_key="key.pem")], "h", "https://h:3443", id="a port for TLS"
        ),
        pytest.param([a_spool(port="3000", secure_port="0", ssl_key="***")], "h", "https://h:3000", id="TLS alone"),
    ],
)
def test_results_are_fetched_at_a_proxy(spools: list[SpoolReport], host: str, url: str):
    assert results_url("t/1", spools, host) == f"{url}/task/t%2F1/download/all.zip"


@pytest.mark.parametrize(
    ("spools", "host"),
    [
        pytest.param([], "h", id="no proxy"),
        pytest.param([a_spool()], "h", id="one of an earlier version"),
        pytest.param([a_spool(port="3000")], "", id="nobody knows where"),
    ],
)
def test_where_nobody_knows_there_is_no_link(spools: list[SpoolReport], host: str):
    assert results_url("t", spools, host) == ""
