"""Names of metrics are valid in MLflow, and two classes never share one."""

import pytest

from ml.tracking.names import MAX_METRIC_NAME, MAX_PARAMETER, metric_name, shortened


@pytest.mark.parametrize("name", ["test_accuracy", "recall_golden retriever", "recall_café", "recall_猫"])
def test_allowed_name_stays(name):
    assert metric_name(name) == name


def test_changed_names_stay_distinct():
    names = ["c#", "c+", "c_", "hund (groß)", "hund [groß]", "x" * 300 + "1", "x" * 300 + "2", "\udcff", "\udcfe"]
    found = [metric_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(len(name) <= MAX_METRIC_NAME for name in found)


def test_long_parameter_is_cut():
    assert shortened("cat, dog") == "cat, dog"
    assert len(shortened("x" * 10_000)) == MAX_PARAMETER
