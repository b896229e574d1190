"""One run, one check: ``python -m services.monitor``."""

import argparse
import json
import os
import sys

from services.monitor import check
from services.monitor import pushgateway as gateway
from services.monitor.delivery import LostError, deliver
from services.monitor.names import printable
from services.monitor.settings import SettingsError, from_environment, table

HEALTHY, UNHEALTHY, WRONG_SETTINGS, LOST = range(4)

EXIT_CODES = """\
exit codes:
  0  healthy: every picture was answered, and the accuracy is not below MIN_ACCURACY
  1  unhealthy; also if LABELLED_IMAGES holds files but no labelled picture, or cannot be read
  2  a setting is wrong; nothing was checked
  3  the result could neither be sent to MLflow nor kept in SPOOL_DIR; it is in the printed line only

MLflow being down does not change the exit code: the result waits in SPOOL_DIR for the next run. Nor does a Pushgateway
being down: the next run pushes its own result.
"""


def main() -> int:
    """Check the service once, print one line of JSON, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.monitor",
        description="Ask the running service about pictures and record the result in MLflow.",
        epilog=f"settings (environment variables):\n{table()}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_SETTINGS
    result = check.run(settings)
    lost = False
    try:
        delivery = deliver(result, settings)
    except LostError as error:
        delivery, lost = [str(error)], True
    delivery += gateway.push(result, settings)
    line = result.model_dump() | {"delivery": [printable(note) for note in delivery]}
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    if lost:
        return LOST
    return HEALTHY if result.healthy else UNHEALTHY


if __name__ == "__main__":
    sys.exit(main())
