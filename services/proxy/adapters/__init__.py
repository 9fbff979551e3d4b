"""The world of the proxy: disk, nodes, the cluster, webhooks. One vendor per module; its types stop there."""
