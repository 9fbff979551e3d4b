"""`python -m clusterodm.libs.nodesim` is the same as the console script `nodesim`."""

import sys

from clusterodm.libs.nodesim.main import main

if __name__ == "__main__":
    sys.exit(main())
