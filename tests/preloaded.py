"""What the server of forks imports, so that no forked process has to: the services, and what they share."""

import gc

from clusterodm.deploy import cli
from clusterodm.libs.nodesim import __main__ as nodesim
from clusterodm.services.admin import main as admin
from clusterodm.services.autoscaler import main as autoscaler
from clusterodm.services.proxy import main as proxy
from clusterodm.services.scheduler import main as scheduler

__all__ = ("admin", "autoscaler", "cli", "nodesim", "proxy", "scheduler")

gc.collect()
gc.freeze()
