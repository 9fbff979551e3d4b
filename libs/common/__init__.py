"""What every service speaks, and what every service stands on.

Directly here is what is spoken: `model` and `messages`, `errors`, `clocks`, `ports` and a few values more. All of it is pure, and cores may import it.
The other rooms do I/O: `bus` (NATS), `http_io` (sockets), `nodeodm` (calls to nodes), `health`, `telemetry` (log, metrics and traces), `process`, and `settings`.
`testing` holds the in-memory fakes; they pass the same contract suite as the real thing (tests/contract).
"""
