"""The launcher's command line."""

import argparse
import sys

from scripts.up import everything, only, proxies
from scripts.up.settings import HELP, SettingsError, from_environment
from scripts.up.signals import Signals


def main() -> int:
    """Start what was asked for and stay until it ends; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.up",
        usage="%(prog)s [-h] [--only mlflow [-- COMMAND …]]",
        description="Start the service, MLflow, the monitor and Prometheus; Ctrl-C ends all of it.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=["mlflow"], help="start MLflow alone")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="run this with MLflow, then end MLflow")
    arguments = parser.parse_args()
    if arguments.command and not arguments.only:
        parser.error("a COMMAND needs --only mlflow before it")
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    proxies.bypass_for_this_machine()
    signals = Signals()
    if arguments.only:
        return only.run(settings, signals, arguments.command)
    return everything.run(settings, signals)


if __name__ == "__main__":
    sys.exit(main())
