"""Modules are exported with a dynamic batch size, and nothing of the machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ml.model.onnx_graph import session, to_onnx
from tests.servers import ROOT


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.Softmax(1))


@pytest.fixture(scope="module")
def graph(module):
    return to_onnx(module, torch.zeros(2, 4), ["given"], ["found"])


@pytest.mark.parametrize("number", [1, 2, 9])
@torch.inference_mode()
def test_graph_computes_the_module_for_any_batch_size(graph, module, number):
    rows = torch.randn(number, 4)
    (found,) = session(graph.SerializeToString()).run(["found"], {"given": rows.numpy()})
    np.testing.assert_allclose(found, module.eval()(rows), atol=1e-6)


def test_graph_has_no_paths_of_the_machine(graph):
    text = str(graph)
    for secret in (str(ROOT), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert secret not in text, f"{secret} is in the graph"
