"""Two tenants of one cluster of real processes, with PyODM: both at work, neither sees the other, a token that is rotated loses nothing."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pyodm
import pytest
from pyodm.exceptions import NodeResponseError

from clusterodm.libs.common.tenancy import IssuedToken, Tenant, TokensFile, digest_of
from clusterodm.services.admin.tenants.adapters import write_file
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.waiting import until

pytestmark = pytest.mark.slow

ANNE, ANNE_TOO, BERT = "anne-has-a-token", "anne-has-another", "bert-has-a-token"
TENANTS = {ANNE: "anne", ANNE_TOO: "anne", BERT: "bert"}


AT_WORK = """
import sys, pyodm
port, token, *photos = sys.argv[1:]
task = pyodm.Node("127.0.0.1", int(port), token=token).create_task(photos, {"dsm": True}, name=token)
task.wait_for_completion(interval=0.2)
print(task.uuid)
"""
"""A program of its own: PyODM keeps its query, the token in it, in a default argument that all nodes of a process share."""


async def done(port: int, token: str, photos: list[str]) -> str:
    """Run a task to its end; its id."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AT_WORK, str(port), token, *photos), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    return said.decode().strip()


def write(path: Path, *tokens: str) -> None:
    """Write the file of tokens."""
    issued = (IssuedToken(id=token, tenant=TENANTS[token], sha256=digest_of(token)) for token in tokens)
    write_file(path, TokensFile(tenants=(Tenant(name="anne"), Tenant(name="bert")), tokens=tuple(issued)))


async def test_two_tenants_work_side_by_side_with_pyodm_and_a_rotated_token_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write(path, ANNE, BERT)
    photos = [str(photo) for photo in make_images(tmp_path / "photos", 2)]
    async with (
        Cluster(tmp_path, tokens=path, services=("scheduler", "proxy")) as cluster,
        cluster.node(task_time_s=0.3),
    ):

        def client(token: str) -> Any:
            return pyodm.Node("127.0.0.1", cluster.port, token=token)

        of_anne, of_bert = await asyncio.gather(*(done(cluster.port, token, photos) for token in (ANNE, BERT)))
        for mine, theirs in ((of_anne, BERT), (of_bert, ANNE)):
            with pytest.raises(NodeResponseError, match="no task table entry"):
                await asyncio.to_thread(lambda mine=mine, theirs=theirs: client(theirs).get_task(mine).info())
        write(path, ANNE_TOO, BERT)

        async def refused() -> bool:
            try:
                await asyncio.to_thread(lambda: client(ANNE).info())
            except NodeResponseError:
                return True
            return False

        await until(refused)
        task = client(ANNE_TOO).get_task(of_anne)
        assert (await asyncio.to_thread(task.info)).name == ANNE
        assert await asyncio.to_thread(lambda: task.download_zip(str(tmp_path / "results")))
        assert all(token not in cluster.log(service) for token in TENANTS for service in cluster.services)
