"""The cluster as this proxy sees it: mirrors of what is published, and whether that is still so."""
