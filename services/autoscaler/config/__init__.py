"""The `--asr` file."""
