from pathlib import Path

from ml.data.dataset import Dataset


def problems(dataset: Dataset, folder: Path) -> dict[str, str]:
    return {problem.path.relative_to(folder).as_posix(): problem.reason for problem in dataset.problems}
