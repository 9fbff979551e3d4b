"""ClusterODM: one address for many NodeODM machines.

The folders of the repository stay where they are; each is a link here, so that the wheel has one top-level name and the code says it too.
"""
