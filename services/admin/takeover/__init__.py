"""Taking over the nodes and tasks of an existing installation: `clusterodm import`."""
