"""Validate every overlay, component and cluster: python -m scripts.validate [--digests]."""

import argparse
import sys

from scripts.validate import builds, policies, schemas


def main() -> int:
    """Print what is wrong, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.validate", description=__doc__)
    parser.add_argument("--digests", action="store_true", help="fail for images of production that wait for a digest")
    arguments = parser.parse_args()
    errors: list[str] = []
    waiting: set[str] = set()
    for build in builds.all_builds():
        try:
            objects = build.objects()
        except builds.BuildError as error:
            errors.append(f"{build.name}: {error}")
            continue
        found = [*schemas.violations(objects), *policies.violations(objects, build.production)]
        errors += [f"{build.name}: {each}" for each in found]
        waiting |= policies.waiting_images(objects) if build.production else set()
        print(f"{build.name}: {len(objects)} objects")
    verdict = "error" if arguments.digests else "note"
    for image in sorted(waiting):
        print(f"{verdict}: {image} waits for its digest, which `python -m scripts.pin_images` writes", file=sys.stderr)
    for each in errors:
        print(f"error: {each}", file=sys.stderr)
    return 1 if errors or (waiting and arguments.digests) else 0


if __name__ == "__main__":
    sys.exit(main())
