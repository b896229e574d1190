"""Predict all images of a folder: ``python -m ml.score``."""

import sys

from ml.batch.predict_folder import main

if __name__ == "__main__":
    sys.exit(main())
