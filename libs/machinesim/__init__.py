"""Clouds that rent out nothing, for tests and demos: whatever rents machines has a stand-in here.

cloud            a provider in memory, for tests of the handlers: slow, failing, losing and leaking on demand
docker_machine   a program `docker-machine` whose machines are simulated nodes on 127.0.0.x
"""
