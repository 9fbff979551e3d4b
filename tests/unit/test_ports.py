"""Ports that tests are given."""

import socket
import subprocess
import sys

from tests.ports import free_port, take


def test_no_port_is_given_twice():
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == 500


def test_no_port_is_given_to_two_processes():
    port = free_port()
    other = "import sys; from tests.ports import take; print(take(int(sys.argv[1])))"
    asked = subprocess.run(
        [sys.executable, "-c", other, str(port)], capture_output=True, text=True, check=True, env={"PYTHONPATH": "."}
    )
    assert asked.stdout == "False\n"
    assert not take(port)


def test_a_port_on_which_somebody_listens_is_not_given():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert all(free_port() != listener.getsockname()[1] for _ in range(50))
