"""What was renamed in the code keeps its name in records and messages, so that other versions read it."""

import msgspec
import pytest

from clusterodm.libs.common.messages.demand import DemandChanged
from clusterodm.libs.common.messages.placement import (
    PlaceTask,
    PlaceTasks,
    PlanStageIn,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    ReportInputsGone,
    ReportInputsLost,
)
from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.tasks import Task

FORMER = {
    "upload_owner": "holder",
    "upload_owner_away_since_ms": "holder_away_since_ms",
    "upload_owner_away_count": "holder_away_count",
}


@pytest.mark.parametrize(
    "kind",
    [
        PlanStageIn,
        DemandChanged,
        PlaceTask,
        PlaceTasks,
        RenewAttempt,
        ReportForwardFailed,
        ReportForwarded,
        ReportInputsGone,
        ReportInputsLost,
        SubmitTask,
        Task,
    ],
)
def test_a_renamed_field_has_the_name_that_earlier_versions_read(kind: type[msgspec.Struct]):
    renamed = [field for field in msgspec.structs.fields(kind) if field.name in FORMER]
    assert renamed
    assert [field.encode_name for field in renamed] == [FORMER[field.name] for field in renamed]
