"""The world as the autoscaler meets it, one vendor per module."""
