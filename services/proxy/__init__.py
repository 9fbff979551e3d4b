"""The proxy: the one address that clients know. It answers HTTP, spools uploads and forwards them to nodes."""
