"""The serving model answers for uint8 pixels."""

import torch

from ml.export.serving_model import Answer
from tests.ml.export.conftest import CLASSES, TEMPERATURE


@torch.inference_mode()
def test_model_gives_tempered_probabilities_and_scores(model, network, photos):
    probabilities, scores = model(torch.from_numpy(photos))
    images = torch.from_numpy(photos).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(probabilities, (network(images) / TEMPERATURE).softmax(1))
    torch.testing.assert_close(scores, model.answer.score(network.backbone(images), network(images)))
    assert probabilities.shape == (20, len(CLASSES)) and scores.shape == (20,)
    distances = model.answer.score.residual(network.backbone(images))
    assert distances[::2].mean() < distances[1::2].mean() and 0 <= scores.min() <= scores.max() <= 1


@torch.inference_mode()
def test_temperature_changes_the_confidence_alone(model, network):
    features = torch.randn(9, network.backbone.features)
    (bold, score), (timid, same) = (Answer(network.head, t, model.answer.score)(features) for t in (0.5, 5.0))
    assert torch.equal(bold.argmax(1), timid.argmax(1)) and torch.equal(score, same)
    assert (bold.amax(1) > timid.amax(1)).all()
