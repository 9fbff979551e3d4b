"""The nouns that more than one service speaks of, as immutable values.

What must live here: their shape, as they lie in the key-value store and travel on the bus.
What must not: decisions about them (scheduler/task_life, autoscaler/machine_life), anything that does I/O, any clock.
Units are in the names: `_ms` is milliseconds (since 1970 UTC for points in time), `_bytes` bytes, `_count` a number of things.
"""
