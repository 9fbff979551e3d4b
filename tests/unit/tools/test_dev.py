"""`make dev` takes up what is saved: which processes a change is about."""

import pytest

from tools.dev import ALL, ROOT, processes, services_of

LISTING = """\
    1     0 /sbin/init
  100     1 /venv/bin/python /venv/bin/clusterodm up --demo
  101   100 /venv/bin/nats-server -c data/nats/server.conf
  102   100 clusterodm proxy [/work/data]
  103   100 clusterodm proxy-2 [/work/data]
  104   100 clusterodm scheduler [/work/data]
  105   200 clusterodm proxy [/other/data]
"""


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        pytest.param("services/proxy/main.py", "proxy", id="a service"),
        pytest.param("services/admin/web/api/static/admin.js", "admin", id="what a service serves"),
        pytest.param("services/__init__.py", ALL, id="all services"),
        pytest.param("libs/common/model/tasks.py", ALL, id="what they share"),
        pytest.param("deploy/local.py", ALL, id="what runs them"),
    ],
)
def test_a_change_is_about_the_service_in_whose_folder_it_is(path: str, touched: str):
    assert services_of([str(ROOT / path)]) == {touched}


def test_the_processes_of_a_service_are_found_among_the_children_of_the_own_cluster():
    assert list(processes(LISTING, 100, {"proxy"})) == [102, 103]
    assert list(processes(LISTING, 100, {"scheduler", "autoscaler"})) == [104]
