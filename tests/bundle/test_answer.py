import numpy as np
import pytest

from bundle.answer import to_answer


@pytest.mark.parametrize("row", [[0.1, 0.7, 0.2], [1 / 3, 1 / 3, 1 / 3], [1e-9, 0.5, 0.5], [0, 1, 0]])
def test_rounded_probabilities_add_up_to_one(row):
    answer = to_answer(["a", "b", "c"], np.array(row, np.float32))
    assert list(answer["probabilities"]) == ["a", "b", "c"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-12)
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert answer["label"] == "abc"[int(np.argmax(np.round(row, 6)))]
