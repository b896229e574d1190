"""A folder of classes → checked, split data. Also the command ``python -m ml.data``."""

from ml.dataset import DataError, Dataset, Picture, Problem, Split
from ml.scan import scan

__all__ = ["DataError", "Dataset", "Picture", "Problem", "Split", "scan"]
