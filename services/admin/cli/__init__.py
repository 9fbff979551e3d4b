"""The commands as a program: `clusterodm node list`."""
