"""Run one check: ``python -m services.monitor``."""

import argparse
import json
import sys

from services.monitor import check, outbox, proxies, pushgateway
from services.monitor.result import printable
from services.monitor.settings import SettingsError, describe_all, load

HEALTHY, UNHEALTHY, WRONG_SETTINGS, LOST = range(4)

EXIT_CODES = """\
exit codes:
  0  healthy: every image was answered, and the accuracy is not below MIN_ACCURACY
  1  unhealthy; also if LABELLED_IMAGES cannot be read, or a class in it has no image
  2  a setting is wrong; nothing was checked
  3  the result could neither be sent to MLflow nor kept in SPOOL_DIR; only the printed line has it

The exit code does not depend on MLflow or the Pushgateway: while MLflow is down, results wait in SPOOL_DIR for the next
run; the Pushgateway gets the next run's result.
"""


def main() -> int:
    """Check the service once, print the result as one line of JSON, and return the exit code."""
    argparse.ArgumentParser(
        prog="python -m services.monitor",
        description="Send images to the running service and record the result in MLflow.",
        epilog=f"settings (environment variables):\n{describe_all()}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_SETTINGS
    proxies.bypass_for_loopback()
    result = check.run(settings)
    status = HEALTHY if result.healthy else UNHEALTHY
    try:
        notes = outbox.deliver(result, settings)
    except outbox.LostError as error:
        notes, status = [str(error)], LOST
    notes += pushgateway.push(result, settings)
    line = result.model_dump() | {"delivery": [printable(note) for note in notes]}
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
