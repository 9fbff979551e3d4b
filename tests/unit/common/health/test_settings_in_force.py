"""Operators see which settings count, and no secret among them."""

import pytest

from clusterodm.libs.common.health.settings_in_force import settings_in_force
from clusterodm.libs.common.settings.settings import MetricsSettings
from clusterodm.services.admin.settings import AdminSettings


@pytest.mark.parametrize(
    ("name", "given", "shown"),
    [
        pytest.param("nats_url", "nats://127.0.0.1:4222", "nats://127.0.0.1:4222", id="an address"),
        pytest.param("nats_url", "nats://proxy:s3cret@h:4222", "***", id="of a user"),
        pytest.param("otlp_endpoint", "https://me:s3cret@h:4318", "https://***@h:4318", id="a collector's user"),
        pytest.param(
            "otlp_endpoint", "https://h/v1?api-key=s3cret", "https://h/v1?api-key=***", id="a key in an address"
        ),
        pytest.param("admin_pass", "s3cret", "***", id="a password"),
        pytest.param("otlp_endpoint", "", "", id="nothing"),
    ],
)
def test_a_secret_is_not_repeated(name: str, given: str, shown: str) -> None:
    kind = AdminSettings if name.startswith("admin") else MetricsSettings
    found = {each.name: each.value for each in settings_in_force(kind(**{name: given}))}
    assert found[name.replace("_", "-")] == shown
