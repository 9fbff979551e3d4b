"""What scripts around ClusterODM 1.5 look for in the log."""

import pytest

from clusterodm.services.autoscaler.main import original_words


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        pytest.param("digitalocean", "ASR: DigitalOceanAsrProvider", id="digitalocean"),
        pytest.param("aws", "ASR: AWSAsrProvider", id="aws"),
        pytest.param("hetzner", "ASR: HetznerAsrProvider", id="hetzner"),
        pytest.param("scaleway", "ASR: ScalewayAsrProvider", id="scaleway"),
    ],
)
def test_the_provider_is_said_as_the_original_says_it(provider: str, line: str):
    assert original_words(provider) == line
