"""The stores of tasks and nodes, the archive of ended ones, and how they stay true when others write or NATS is away."""
