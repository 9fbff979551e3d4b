"""HTTP over sockets, as server and as client: the I/O around clusterodm.libs.http1, which has none."""
