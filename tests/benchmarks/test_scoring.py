"""The measurement of ml.score: what it scores, and how its figures are put together."""

import subprocess

import pytest

from benchmarks import photos
from benchmarks.limit import Limit
from benchmarks.scoring import Scored, fill, run, table


def test_a_folder_is_scored_file_by_file(tmp_path):
    pictures = photos.read(None, 3)
    folder = fill(tmp_path / "photos", pictures, 8)
    scored = run(folder, 8, tmp_path / "scores.csv")
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(rows) == 9
    assert [row.split(",")[6] for row in rows[1:]] == [""] * 8
    assert (folder / "0000" / "0000004.jpg").read_bytes() == pictures[1]
    assert min(scored.rate, scored.processor_seconds) > 0


def test_a_run_that_fails_is_not_a_figure(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        run(tmp_path / "nowhere", 1, tmp_path / "scores.csv")


def test_the_share_is_of_the_round_s_own_limit():
    limits = [Limit(100, 0.02), Limit(200, 0.01), Limit(400, 0.01)]
    runs = [Scored(90, 0.022, 50_000_000), Scored(190, 0.011, 60_000_000), Scored(388, 0.011, 70_000_000)]
    few = [Scored(40, 0.05, 50_000_000)] * 3
    lines = table(limits, runs, few, (1000, 10_000)).splitlines()
    assert lines[2:] == [
        "| in-process limit | 200 | 100 to 400 | 100% | 10.00 | |",
        "| `ml.score`, 10,000 photos | 190 | 90 to 388 | **95%** | 11.00 | 60 |",
        "| `ml.score`, 1,000 photos | 40 | 40 to 40 |  | 50.00 | 50 |",
    ]
