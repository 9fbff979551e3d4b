"""Every way to run it.

cli.py              the program `clusterodm`: its first word chooses what runs
local.py            `clusterodm up`: a whole cluster on one computer; greet.py says when it is ready
supervision.py      what becomes of each of its processes, decided; supervisor.py does it
children.py         how they are made, by fork; output.py, liveness.py: what they print, their signs of life
instances.py        how many of each service; nats.py, demo.py: nats-server, simulated nodes
Dockerfile          one image, four commands; docker-compose.yml runs them, docker-compose.demo.yml with simulated nodes
"""
