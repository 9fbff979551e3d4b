"""Tenants: who checks a client's token, for whom it speaks, and what that one may do."""
