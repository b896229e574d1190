"""Send the results of a training run that MLflow has not received: ``python -m ml.tracking``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml.tracking.address import DEFAULT_ADDRESS
from ml.tracking.client import TrackingError, connect
from ml.tracking.tracker import Tracker


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the results that a training run could not send because MLflow was unreachable."""
    parser = argparse.ArgumentParser(prog="python -m ml.tracking", description=main.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/cats-vs-dogs-20260101-120000")
    parser.add_argument("--tracking-uri", help=f"MLflow's address [MLFLOW_TRACKING_URI, else {DEFAULT_ADDRESS}]")
    options = parser.parse_args(arguments)
    try:
        tracker = Tracker.reopen(connect(options.tracking_uri), options.run)
        tracker.flush()
    except TrackingError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command sends the rest.", file=sys.stderr)
        return 130
    for item in tracker.unsent():
        print(f"could not be sent: {item}", file=sys.stderr)
    return 1 if tracker.unsent() else 0


if __name__ == "__main__":
    sys.exit(main())
