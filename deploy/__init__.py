"""Every way to run it.

cli.py              the program `clusterodm`: its first word chooses what runs
local.py            `clusterodm up`: a whole cluster on one computer; greet.py says when it is ready
instances.py        how many of each service it runs; keep.py keeps one process of it alive
Dockerfile          one image, four commands; docker-compose.yml runs them, docker-compose.demo.yml with simulated nodes
"""
