"""Compare a folder of images with a bundle's reference, or renew the reference: ``python -m ml.drift``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bundle.files import BundleError
from bundle.load import CHAMPION, load
from ml.data import exclude, part
from ml.data.scan import collect
from ml.drift import plot
from ml.drift.answers import answer_files, answer_folder
from ml.drift.rules import Comparison, Finding
from ml.errors import UserError
from ml.evaluation.reference import reference
from ml.export.write_bundle import write

SAME, DRIFTED, FAILED = range(3)
STOPPED = 130
FEW_IMAGES = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare images with those that a bundle was evaluated on."""
    options = _parser().parse_args(arguments)
    try:
        command: int = options.command(options)
    except (UserError, BundleError, OSError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return STOPPED
    return command


def compare(options: argparse.Namespace) -> int:
    """Print a table of the signals, save a plot, and return whether an alert would fire."""
    bundle = load(options.model)
    comparison = Comparison(bundle.manifest)
    answers, unusable = answer_folder(bundle, options.folder)
    places = comparison.places(answers.signals)
    window = comparison.window(places, answers.probabilities.max(1), answers.uncertain)
    findings = comparison.check(window)
    plot.save(comparison, window, options.plot)
    manifest = bundle.manifest
    print(
        f"{window.images:,} images of {options.folder} against the reference of {manifest.name} {manifest.version}:\n"
    )
    print(table(findings))
    if unusable:
        print(f"\n{unusable:,} files were passed over: the service would refuse them.")
    if window.images < FEW_IMAGES:
        print(f"\nFew images: below {FEW_IMAGES}, only a great difference shows (docs/drift.md).")
    drifted = [finding.rule for finding in findings if finding.drifted]
    print(f"\n{'Drift: ' + ', '.join(drifted) if drifted else 'No drift'}. Plot: {options.plot}")
    return DRIFTED if drifted else SAME


def table(findings: Sequence[Finding]) -> str:
    """Format the findings as a table."""
    rows = [
        (finding.rule, f"{finding.value:.3f}", f"{finding.limit:.3f}", "drift" if finding.drifted else "")
        for finding in findings
    ]
    lines = [("", "value", "limit", ""), *rows]
    return "\n".join(f"  {name:<22} {value:>7} {limit:>7}  {verdict}".rstrip() for name, value, limit, verdict in lines)


def renew(options: argparse.Namespace) -> int:
    """Write the reference of a bundle anew; the model file and its measurements stay."""
    bundle = load(options.model)
    if options.split == part.ALL and not options.exclude:
        answers, _ = answer_folder(bundle, options.folder)
    else:
        data = collect(options.folder, options.exclude)
        files = [image.path for image in part.choose(data, options.split, options.folder)]
        answers, _ = answer_files(bundle, files, options.folder)
    manifest = bundle.manifest
    found = reference(manifest.classes, answers.probabilities, answers.signals, answers.uncertain)
    write(options.model, replace(bundle, manifest=manifest.model_copy(update={"reference": found})))
    print(f"{options.model}: the reference of {manifest.name} {manifest.version} is now of {found.images:,} images.")
    return SAME


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml.drift", description=main.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    codes = "Exit code: 0 no drift, 1 drift, 2 error, 130 Ctrl-C."
    comparing = commands.add_parser(
        "compare", help="compare a folder of images", description=compare.__doc__, epilog=codes
    )
    comparing.set_defaults(command=compare)
    text = "the plot, as PNG, SVG or PDF [%(default)s]"
    comparing.add_argument("--plot", type=_plot_file, default=Path(".state/drift.png"), metavar="FILE", help=text)
    renewing = commands.add_parser("reference", help="renew a bundle's reference", description=renew.__doc__)
    renewing.set_defaults(command=renew)
    part.add_argument(renewing)
    exclude.add_argument(renewing)
    for one in (comparing, renewing):
        one.add_argument("folder", type=Path, help="images, searched with all folders in it")
        one.add_argument(
            "--model", type=Path, default=CHAMPION, metavar="BUNDLE", help="the model's folder [%(default)s]"
        )
    return parser


def _plot_file(text: str) -> Path:
    """Accept a file whose suffix is a kind of plot."""
    if Path(text).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, .svg or .pdf")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
