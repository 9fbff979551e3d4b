"""What every service speaks.

Pure, imported by cores: `model` `messages` `errors` `ports` `settings`.
I/O, one door per vendor: `bus` and `store` (NATS), `nodeodm` (HTTP to nodes), `lifecycle`, `log`, `metrics`.
`testing` holds the in-memory fakes; they pass the same contract suite as the real thing (tests/contract).
"""
