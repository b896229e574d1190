"""Measure a bundle on a folder of images: ``python -m ml.evaluate``."""

import sys

from ml.evaluation.metrics import main

if __name__ == "__main__":
    sys.exit(main())
