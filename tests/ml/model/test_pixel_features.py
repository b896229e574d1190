"""A backbone is exported once for each set of weights, side, and centre that it sees."""

import numpy as np
import pytest
import torch

from ml.model import pixel_features
from ml.model.backbones import build_backbone
from ml.model.onnx_graph import session
from ml.model.pixel_features import FEATURES, PIXELS, central_square, fingerprint, pixel_features_graph
from tests.ml.conftest import SIDE, TINY


@pytest.fixture
def exports(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the examples of all exports, which only pretend to export."""
    shapes, graph = [], pixel_features.onnx.ModelProto(ir_version=10)

    def export(_, example, *__):
        shapes.append(tuple(example.shape))
        return graph

    monkeypatch.setattr(pixel_features, "to_onnx", export)
    return shapes


@torch.inference_mode()
def test_graph_equals_the_backbone(pretrained, shape_pixels, shape_features, cache):
    model = session(pixel_features_graph(pretrained, SIDE, SIDE, cache).SerializeToString())
    pixels = np.array(shape_pixels.pixels[:5])
    (found,) = model.run([FEATURES], {PIXELS: pixels})
    expected = pretrained(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(shape_features[:5], expected, atol=2e-3)


@pytest.mark.parametrize(("side", "seen", "first"), [(8, 8, 0), (8, 7, 0), (8, 6, 1), (8, 5, 1), (7, 4, 1)])
def test_central_square_is_cut_out_of_all_channels(side, seen, first):
    images = torch.arange(2 * 3 * side * side).reshape(2, 3, side, side)
    last = first + seen
    assert torch.equal(central_square(images, seen), images[:, :, first:last, first:last])


def test_graph_is_exported_once_for_each_side_centre_and_weights(exports, tmp_path):
    torch.manual_seed(0)
    first, other = build_backbone(TINY, False), build_backbone(TINY, False)
    assert fingerprint(first) != fingerprint(other)
    for backbone, side, seen in ((first, 32, 32), (first, 32, 32), (first, 48, 32), (first, 48, 48), (other, 32, 32)):
        pixel_features_graph(backbone, side, seen, tmp_path / "cache")
    assert exports == [(2, 32, 32, 3), (2, 48, 48, 3), (2, 48, 48, 3), (2, 32, 32, 3)]
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".onnx"}


def test_interrupted_export_leaves_no_graph(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pixel_features, "to_onnx", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pixel_features_graph(build_backbone(TINY, False), 32, 32, tmp_path)
    assert list(tmp_path.iterdir()) == []
