"""List, register, fetch and gate models: ``python -m ml.registry``."""

import sys

from ml.registry.model_registry import main

if __name__ == "__main__":
    sys.exit(main())
