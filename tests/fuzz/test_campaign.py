"""A small campaign against a running service; the same command sends 100,000 inputs."""

import pytest

from tests import bundles
from tests.fuzz import campaign, mutations

pytestmark = pytest.mark.faults

INPUTS = 1500


def test_mutated_inputs_do_the_service_no_harm(tmp_path):
    report = campaign.run(tmp_path, INPUTS, seed=6, MODEL_DIR=bundles.write(tmp_path / "model"))
    assert report.inputs == INPUTS
    assert {200, 400, 415, 422} <= report.statuses.keys(), "the inputs reach too little"
    assert report.unexpected == []
    assert report.restarts == 0
    assert report.complaints == []
    assert report.after < 1.15 * report.before


def test_internal_errors_are_reported(tmp_path):
    bundle = bundles.write(tmp_path / "model", fragile=True)
    report = campaign.run(tmp_path, 100, seed=50, MODEL_DIR=bundle)
    assert report.statuses[500] == len(report.unexpected) > 0
    assert report.complaints and "500: " in report.table()


def test_same_seed_makes_the_same_inputs():
    first, again, other = (mutations.request(mutations.Random(f"{seed} 1")) for seed in (1, 1, 2))
    assert first == again != other
