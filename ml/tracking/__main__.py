"""Send what MLflow has not received yet: ``python -m ml.tracking``."""

import sys

from ml.tracking.tracker import main

if __name__ == "__main__":
    sys.exit(main())
