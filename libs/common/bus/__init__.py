"""The bus and its stores, over NATS: the only door to nats-py. `ports.Bus` says what is promised."""
