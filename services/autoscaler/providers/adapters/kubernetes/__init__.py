"""Pods of a Kubernetes cluster as machines, over lightkube."""
