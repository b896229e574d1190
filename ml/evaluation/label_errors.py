"""Wrong labels: pictures of which networks that never saw them are sure that they show another class.

The search is cross-validation (Northcutt et al. 2021, "Confident Learning"). It gives candidates, not verdicts: what
is truly wrong is for a person to see, on the contact sheets.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps

from bundle.preprocess import ImageError
from ml.data import exclude
from ml.data.dataset import Dataset, LabelledImage
from ml.data.scan import scan
from ml.errors import UserError
from ml.model.architectures import build
from ml.model.catalog import SLIM
from ml.training.config import TrainingConfig
from ml.training.epoch import EVALUATION_BATCH
from ml.training.loader import Pixels, plain_batches
from ml.training.temperature_scaling import fit_temperature
from ml.training.trainer import fit

# Small and short: what is wrong enough to be seen by a person is seen at 64 pixels too.
SEARCH = TrainingConfig(architecture=SLIM, size=64, train_size=64, crop=0.4, epochs=12, learning_rate=3e-3, patience=12)
DECODED_SIDE = 80
LIST = "suspects.csv"
COLUMNS, ROWS, TILE, CAPTION = 8, 6, 160, 26


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is doubted; ``probability`` is that of ``likelier``, the class seen in it."""

    picture: LabelledImage
    label: str
    likelier: str
    probability: float


def find(data: Dataset, folds: int, least: float, cache: Path, recipe: TrainingConfig = SEARCH) -> list[Suspect]:
    """Ask about every training and validation picture a network that was trained without it.

    The test pictures are neither learned from nor searched: cleaned of what networks find hard, they would flatter.

    Args:
        data: The scanned pictures.
        folds: Parts, each asked about with what the others taught.
        least: Probability of another class from which a label is doubted.
        cache: Folder for decoded pictures.
        recipe: Settings of the short trainings.

    Returns:
        The doubted pictures, the most confidently contradicted first.
    """
    pictures = [p for p in data.images if p.split != "test"]
    suspects = []
    for fold in range(folds):
        # The last digits of the hash, since the first ones decide the split.
        asked = [p for p in pictures if int(p.sha256[-8:], 16) % folds == fold]
        others = [p for p in pictures if int(p.sha256[-8:], 16) % folds != fold]
        learned = Pixels(others, DECODED_SIDE, recipe.resize, cache, f"fold {fold + 1}")
        unseen = Pixels(asked, recipe.size, recipe.resize, cache, f"fold {fold + 1}, unseen")
        probabilities = _out_of_fold(learned, unseen, len(data.classes), recipe)
        for picture, row in zip(asked, probabilities, strict=True):
            other = int(row.argmax())
            if other != picture.label and row[other] >= least:
                suspects.append(Suspect(picture, data.classes[picture.label], data.classes[other], float(row[other])))
    return sorted(suspects, key=lambda suspect: -suspect.probability)


def _out_of_fold(learned: Pixels, unseen: Pixels, classes: int, recipe: TrainingConfig) -> torch.Tensor:
    """Probabilities of the unseen pictures, shape ``(n, classes)``."""
    device = torch.device("cpu")
    torch.manual_seed(recipe.seed)
    network = build(recipe.architecture, classes)
    with tempfile.TemporaryDirectory() as folder:
        network.load_state_dict(fit(network, learned, unseen, recipe, device, Path(folder)).best)
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(batch) for batch, _ in plain_batches(unseen, EVALUATION_BATCH, device)])
    return (logits / fit_temperature(logits, unseen.labels)).softmax(1)


def write(folder: Path, suspects: Sequence[Suspect]) -> None:
    """Write ``suspects.csv`` and contact sheets ``suspects-1.png``, …, in the same order."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LIST).open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "likelier", "probability"])
        writer.writerows([s.picture.path, s.label, s.likelier, f"{s.probability:.4f}"] for s in suspects)
    on_a_sheet = COLUMNS * ROWS
    for number, start in enumerate(range(0, len(suspects), on_a_sheet), 1):
        sheet(suspects[start : start + on_a_sheet]).save(folder / f"suspects-{number}.png")


def sheet(suspects: Sequence[Suspect]) -> Image.Image:
    """Lay pictures out in rows, each with its name, label and the probability of the other class below it."""
    rows = -(-len(suspects) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    pen = ImageDraw.Draw(page)
    for i, suspect in enumerate(suspects):
        left, top = i % COLUMNS * TILE, i // COLUMNS * (TILE + CAPTION)
        with Image.open(suspect.picture.path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        page.paste(ImageOps.contain(upright, (TILE - 4, TILE - 4)), (left, top))
        path = suspect.picture.path
        pen.text((left, top + TILE - 2), f"{path.parent.name}/{path.name}"[-24:], "black")
        pen.text((left, top + TILE + 10), f"{suspect.likelier}? {suspect.probability:.3f}", "firebrick")
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """List pictures whose label is probably wrong, with contact sheets to judge them by."""
    parser = argparse.ArgumentParser(prog="python -m ml.evaluation.label_errors", description=main.__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with one sub-folder of pictures per class")
    exclude.add_argument(parser)
    add("--out", type=Path, required=True, help="folder for the list and the sheets")
    add("--cache", type=Path, default=Path("runs/cache"), help="folder for decoded pictures [%(default)s]")
    add("--folds", type=int, choices=range(2, 11), default=2, metavar="N", help="2 to 10 [%(default)s]")
    add("--least", type=float, default=0.9, metavar="P", help="probability of the other class [%(default)s]")
    options = parser.parse_args(arguments)
    try:
        data = scan(options.data, options.exclude)
        suspects = find(data, options.folds, options.least, options.cache)
        write(options.out, suspects)
    except (UserError, ImageError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    print(f"{len(suspects)} doubted labels: {options.out / LIST} and the sheets beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
