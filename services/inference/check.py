"""Says whether a bundle can be served, as the service would: ``python -m services.inference.check [FOLDER]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle import load as bundle_folder
from services.inference import model, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Load a bundle and run its model once; exit code 1, with the reason in one sentence, if it cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m services.inference.check", description=main.__doc__)
    default = settings.Settings().model_dir
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="of the bundle [%(default)s]")
    folder = parser.parse_args(arguments).folder
    try:
        manifest = model.build(bundle_folder.load(folder)).manifest
    except Exception as error:  # as the service, which then is not ready
        sys.stderr.write(f"{model.explain(error)}\n")
        return 1
    sys.stdout.write(f"{folder} can be served: {manifest.name} {manifest.version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
