"""Learning rates fall from the head to the stem, and the best weights are kept."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ml.model.classifier import build, freeze, stages
from ml.training.config import TrainingConfig
from ml.training.state import TrainingState, parameter_groups

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "order"),
    [
        ("efficientnet_lite0", ["head", "conv_head", "blocks.6", "blocks.3", "blocks.0", "conv_stem"]),
        ("test_resnet", ["head", "layer4.0", "layer2.0", "conv1.3"]),
        ("test_vit", ["head", "blocks.1", "blocks.0", "patch_embed"]),
        ("mobilenet_v3_small", ["head", "classifier.0", "features.12", "features.6", "features.0"]),
        ("convnext_tiny", ["head", "features.7", "features.3", "features.0"]),
    ],
)
def test_learning_rates_fall_from_the_head_to_the_stem(architecture, order):
    network = build(architecture, 2, "scratch")
    config = TrainingConfig(learning_rate=1.0, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    rates = {}
    for group in parameter_groups(network, config):
        for parameter in group["params"]:
            assert names[id(parameter)] not in rates
            rates[names[id(parameter)]] = group["lr"]
            assert group["weight_decay"] == (config.weight_decay if parameter.ndim > 1 else 0)
    assert rates.keys() == set(names.values())
    of_stages = []
    for stage in order:
        prefix = f"{stage}." if stage == "head" else f"backbone.network.{stage}."
        (rate,) = {rate for name, rate in rates.items() if name.startswith(prefix)}
        of_stages.append(rate)
    assert of_stages[0] == 1 and of_stages == sorted(set(of_stages), reverse=True)


def test_without_a_decay_all_stages_have_one_rate():
    groups = parameter_groups(build("test_resnet", 2, "scratch"), TrainingConfig(learning_rate=0.1, layer_decay=1.0))
    assert {group["lr"] for group in groups} == {0.1}


def test_frozen_stages_keep_their_weights(config, pixels):
    network = build("test_resnet", 2, "scratch")
    freeze(network, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = TrainingState(network, *pixels, config, CPU)
    for _ in range(2):
        state.train_step(torch.rand(4, 3, 32, 32) * 255, torch.tensor([0, 1, 0, 1]))
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert changed == trained and "head.weight" in trained
    kept = [stage[0].requires_grad for stage in stages(network)]
    assert kept == [False] * 3 + [True] * (len(kept) - 3)


def test_the_average_is_short_at_first(config, pixels):
    state = TrainingState(build("test_resnet", 2, "scratch"), *pixels, replace(config, ema=0.3), CPU)
    expected = None
    for step in range(5):
        state.train_step(torch.rand(4, 3, 32, 32) * 255, torch.tensor([0, 1, 0, 1]))
        weights = state.network.head.weight.detach().clone()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = weights if expected is None else decay * expected + (1 - decay) * weights
        torch.testing.assert_close(state.average.module.head.weight.detach(), expected)


def test_frozen_statistics_stay_while_the_weights_move(config, pixels, tmp_path):
    weights = tmp_path / "weights.pt"
    torch.save(build(config.architecture, 2, "scratch").state_dict(), weights)
    network = build(config.architecture, 2, str(weights))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = TrainingState(network, *pixels, replace(config, weights=str(weights)), CPU)
    network.train()
    state.train_step(torch.rand(4, 3, 32, 32) * 255, torch.tensor([0, 1, 0, 1]))
    after = network.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved >= {"head.weight", "backbone.network.conv1.0.weight"}
    assert not [name for name in moved if "running" in name or "num_batches" in name]
    averages = state.average.module.state_dict()
    assert all(torch.equal(averages[name], before[name]) for name in before if "running" in name)


def test_best_weights_are_those_with_the_lowest_loss(config, pixels):
    network = build(config.architecture, 2, "scratch")
    state = TrainingState(network, *pixels, config, CPU)
    for state.epoch, loss in enumerate((0.5, 0.4, 0.6), 1):
        nn.init.constant_(state.average.module.head.bias, state.epoch)
        state.keep_if_best(loss)
    assert (state.best_epoch, state.best_loss) == (2, 0.4)
    assert state.best["head.bias"].tolist() == [2, 2]
