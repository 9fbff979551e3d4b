"""What can be set for the autoscaler."""

from typing import ClassVar

from clusterodm.libs.common.settings.addresses import web_address
from clusterodm.libs.common.settings.fields import Field
from clusterodm.libs.common.settings.settings import HealthSettings


class AutoscalerSettings(HealthSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the autoscaler."""

    group: ClassVar[str] = "Machines (autoscaler)"

    asr: str = Field("", description="JSON file that configures the autoscaler; empty: none")
    public_address: str = Field(
        "", check=web_address, description="address of the proxy for clients and machines, http(s)://host:port"
    )
    asr_every_s: float = Field(2.0, gt=0, description="how often machines are planned without any news, seconds")
    asr_reconcile_s: float = Field(
        180.0, gt=0, description="how often the records are compared with the provider's own list, seconds"
    )
    asr_poll_s: float = Field(
        3.0, gt=0, description="how often a machine that is starting or going is looked at, seconds; not docker-machine"
    )
    probe_keep_alive_timeout_s: float = Field(
        30.0, gt=0, description="a connection over which a machine's node was asked is kept for so many seconds"
    )
    asr_cross_check: bool = Field(
        True, description="with docker-machine: also look at the provider's API for machines that it has lost"
    )
    asr_check_storage: bool = Field(True, description="write a small file to the S3 bucket at the start")
