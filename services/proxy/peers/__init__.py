"""Peers: requests about an upload that another proxy holds are passed on to it."""
