"""What can be set for the autoscaler."""

from pydantic import Field

from libs.common.settings import CommonSettings


class AutoscalerSettings(CommonSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of the autoscaler."""

    asr: str = Field("", description="JSON file that configures the autoscaler; empty: none")
