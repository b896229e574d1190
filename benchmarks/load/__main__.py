"""The command ``python -m benchmarks.load URL``."""

import argparse
from urllib.parse import urlsplit

from benchmarks import photos
from benchmarks.load import payload
from benchmarks.load.generator import MAX_CONNECTIONS, closed_loop, open_loop
from benchmarks.load.result import OK


def main() -> None:
    """Send images to a running service, and print rates and latencies."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=main.__doc__)
    add = parser.add_argument
    add("url", help="such as http://127.0.0.1:8000/predict")
    photos.add_arguments(parser)
    add(
        "--connections",
        type=int,
        metavar="N",
        help=f"concurrent [8; with --rate at most {MAX_CONNECTIONS}]",
    )
    add("--rate", type=float, metavar="R", help="requests per second in an open loop [closed loop]")
    add("--seconds", type=float, default=10, help="duration [%(default)s]")
    add("--warm-up", type=float, default=2, metavar="SECONDS", help="not measured [%(default)s]")
    add("--multipart", action="store_true", help="send forms instead of raw bodies")
    add("--images", "--pictures", type=int, default=1, metavar="N", help="per request; above 1 in a form [%(default)s]")
    add("--header", action="append", default=[], help="such as 'Authorization: Bearer …'; may be repeated")
    options = parser.parse_args()
    path = urlsplit(options.url).path or "/predict"
    multipart = options.multipart or options.images > 1
    images = photos.from_arguments(parser, options)
    requests = payload.requests(images, options.images, path, multipart, options.header)
    connections = options.connections or 8
    if options.warm_up:
        closed_loop(options.url, requests, connections, options.warm_up)
    if options.rate:
        most = options.connections or MAX_CONNECTIONS
        result = open_loop(options.url, requests, options.rate, options.seconds, most)
    else:
        result = closed_loop(options.url, requests, connections, options.seconds)
    print(result.describe())
    if not result.statuses[OK]:
        raise SystemExit(f"No response had status 200: is {options.url} a service that is ready?")


if __name__ == "__main__":
    main()
