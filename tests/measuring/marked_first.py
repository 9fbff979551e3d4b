"""A plugin of pytest while coverage is measured: the finder of sitecustomize.py comes before pytest's own.

pytest rewrites the assertions of packages that have a plugin, ours among them, and would load all of it unmarked.
"""

import sys

import sitecustomize

sys.meta_path.sort(key=lambda finder: not isinstance(finder, sitecustomize.Finder))
