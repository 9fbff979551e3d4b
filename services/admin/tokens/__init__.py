"""Tokens and tenants as operators make them: `clusterodm token create`. The file is all there is; no cluster is asked."""
