"""What tenants have used: counted once as tasks end, kept by tenant and month."""
