"""What a tenant's limits do to options and totals."""

from typing import Any

import pytest

from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.libs.common.tenancy import OptionLimit, OptionRange
from clusterodm.services.proxy.polling.core.task_info import within
from clusterodm.services.proxy.tenants.core import augmented, in_words, limited_options

GSD = NodeOption("orthophoto-resolution", "float", "5", "float > 0.0", "cm / pixel")
THREADS = NodeOption("max-concurrency", "int", "4", "positive integer", "")
AT_MOST_40 = OptionLimit(between=OptionRange(min=10, max=40, max_if_equal_to=-1))


def test_what_is_offered_has_the_tenants_domains_and_defaults() -> None:
    limits = {"orthophoto-resolution": OptionLimit(domain="float >= 2", value=3.5)}
    (offered,) = limited_options((GSD, THREADS), limits)
    assert (offered.domain, offered.value, offered.type) == ("float >= 2", "3.5", "float")


def test_without_limits_everything_is_offered_as_it_is() -> None:
    assert limited_options((GSD, THREADS), {}) == (GSD, THREADS)


@pytest.mark.parametrize(
    ("limit", "chosen", "becomes"),
    [
        pytest.param(AT_MOST_40, 50, 40, id="too much"),
        pytest.param(AT_MOST_40, 5, 10, id="too little"),
        pytest.param(AT_MOST_40, 20, 20, id="between"),
        pytest.param(AT_MOST_40, -1, 40, id="what stands for the most"),
        pytest.param(AT_MOST_40, "auto", "auto", id="no number"),
        pytest.param(OptionLimit(value="true"), False, True, id="always set"),
        pytest.param(OptionLimit(value=7), 3, 3, id="a default changes no choice"),
        pytest.param(OptionLimit(between=OptionRange(max=4)), 9, 9, id="half a range"),
    ],
)
def test_a_choice_is_brought_into_its_limit(limit: OptionLimit, chosen: Any, becomes: Any) -> None:
    assert augmented((OptionValue("x", chosen),), {"x": limit}) == (OptionValue("x", becomes),)


def test_what_is_assured_is_set_where_nobody_chose_it() -> None:
    limits = {"dsm": OptionLimit(value=True, assure=True), "fast": OptionLimit(assure=True)}
    assert augmented((), limits) == (OptionValue("dsm", True),)
    assert augmented((OptionValue("dsm", False),), limits) == (OptionValue("dsm", False),)


@pytest.mark.parametrize(
    ("total", "limits", "shown"),
    [
        pytest.param((100, 8), (0, 0), (100, 8), id="no limits"),
        pytest.param((100, 8), (50, 2), (50, 2), id="less than there is"),
        pytest.param((100, 8), (500, 20), (100, 8), id="more than there is"),
        pytest.param((None, 8), (50, 0), (50, 8), id="no limit of nodes"),
        pytest.param((0, 0), (50, 2), (50, 0), id="no node"),
    ],
)
def test_a_tenant_sees_of_the_totals_what_it_may_have(total: Any, limits: tuple[int, int], shown: Any) -> None:
    summary = within(ClusterSummary(max_images=total[0], max_parallel_tasks=total[1]), *limits)
    assert (summary.max_images, summary.max_parallel_tasks) == shown


def test_bytes_are_told_in_the_unit_of_people() -> None:
    assert [in_words(size) for size in (12, 1_500, 20 * 10**9)] == ["12 bytes", "1.5 KB", "20 GB"]
