"""The comparison with others: short runs of real servers, and the table and the plots that come of it."""

import argparse
import contextlib
import math
import re
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from benchmarks import compare, environments, extremes, growth, limit, payload, phones, report
from benchmarks.drive import RefusedError, Row, Run
from benchmarks.processes import running
from benchmarks.servers import BENTOML, FASTAPI, FOLDER, LITSERVE, MULTIPART, OURS, PROTOTYPE, RAW, Server
from tests import bundles
from tests import drawn_images as pictures

RUN = Run(rate=100, refused=0, p50=20, p99=50, processor=9, memory=300, generator_seconds=0.2, seconds=2)


def numbers(markdown: str) -> dict[str, list[str]]:
    """The cells of a Markdown table by its first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return {cells[0] + (f", {cells[1]}" if len(cells) > 3 else ""): cells[1:] for cells in rows}


@pytest.fixture
def plan(tmp_path, monkeypatch) -> compare.Plan:
    """One round, as short as can be, with the tiny model."""
    monkeypatch.setenv("MODEL_DIR", str(bundles.write(tmp_path / "bundle")))
    options = argparse.Namespace(workers=1, connections=2, rounds=1, seconds=0.2, warm_up=0.1, overload=0.5)
    return compare.Plan(options, [pictures.plain(), pictures.noise()], tmp_path)


def test_rounds_measure_each_form_and_name_what_does_not_start(plan):
    broken = Server("broken", "no_such_module")
    found = compare.rounds(plan, (OURS, broken), tqdm(disable=True))
    (without,) = found.limits
    assert without.rate > 0 and without.processor_seconds > 0
    assert [(row.name, row.form) for row in found.rows] == [(OURS.name, RAW), (OURS.name, MULTIPART)]
    for row in found.rows:
        (run,), (start,) = row.runs, row.starts
        assert start > 0
        assert run.rate > 0 and run.refused == 0 and 0 < run.p50 <= run.p99
        assert run.memory > 40 and run.seconds >= 0.2  # no Python with these libraries is smaller
    assert "No module named no_such_module" in found.left_out["broken"]
    assert "Left out: broken (broken did not start" in report.table(found)


def test_a_service_that_refuses_is_no_figure(plan, monkeypatch):
    monkeypatch.setenv("MAX_UPLOAD_BYTES", str(len(pictures.plain())))
    assert len(pictures.noise()) > len(pictures.plain())
    with pytest.raises(RefusedError, match=r"this service, raw body: refused \d+"):
        compare.measure(plan, OURS, plan.pictures, {(OURS.name, RAW): Row(OURS.name, RAW)})


def test_overload_counts_what_is_refused_and_what_is_answered(plan, monkeypatch):
    monkeypatch.setattr(extremes, "AFTERWARDS", 0.3)
    requests = payload.requests([pictures.noise(size=(900, 900))])
    with running(OURS, plan.log(OURS), 1) as started:
        found = extremes.overload(started.url, requests, highest=20, times=50, seconds=0.3)
    answered = round(found.accepted * found.seconds)
    assert found.asked == 1000 and found.refused > 0 and answered > 0
    assert answered + found.refused + found.lost + found.others == 300
    assert 0 <= found.recovery < math.inf


def test_growth_asks_for_each_value(plan, monkeypatch):
    meter = growth.Meter(plan.pictures, 0.2, 0.1, 1, plan.folder)
    with running(OURS, plan.log(OURS), 1) as started:
        monkeypatch.setattr(growth, "running", lambda *_: contextlib.nullcontext(started))  # starts cost seconds
        found = list(growth.measure(meter, connections=[1], pictures=[3], megapixels=[0.02]))
    assert [one.name for one in found] == ["connections", "pictures", "megapixels"]
    (run,) = found[1].runs
    assert found[1].rates == [3 * run.rate] and run.rate > 0
    growth.write(found, "About.", plan.folder / "out")
    text = (plan.folder / "out" / growth.TABLE).read_text()
    for one in found:
        assert f"## {one.title}" in text and f"| {one.values[0]:g} | {one.runs[0].rate:.1f} | 0% |" in text
        plot = f"growth_{one.name}.svg"
        assert f"({plot})" in text and (plan.folder / "out" / plot).read_text().startswith("<?xml")


def comparison() -> report.Comparison:
    """Made up: this service answers 300 a second, everything else 100, a server-less loop 400."""
    fast = Run(rate=300, refused=0, p50=10, p99=30, processor=3, memory=200, generator_seconds=0.4, seconds=2)
    faster = Run(rate=320, refused=0, p50=10, p99=30, processor=3, memory=200, generator_seconds=0.4, seconds=2)
    rows = [Row(OURS.name, form, [fast, faster, fast], [0.5]) for form in (RAW, MULTIPART)]
    rows += [Row(server.name, form, [RUN] * 3, [5.0]) for server in (FASTAPI, BENTOML) for form in server.forms]
    found = report.Comparison([limit.Limit(400, 0.0025)] * 3, rows, {LITSERVE.name: "no network"}, 2, 8, "2 photos")
    found.phones = [Row(OURS.name, RAW, [RUN] * 2, [1]), Row(PROTOTYPE.name, RAW, [fast] * 2, [1])]
    found.tails = [extremes.Tail(210, 10, 25), extremes.Tail(210, 10, 20), extremes.Tail(210, 10, 90)]
    found.difference = phones.Difference(200, 0.0123, 0.004)
    found.overload = extremes.Overload(1200, 60, 280, 700, 54_321, 3, 30, 0, 2, 1.4)
    return found


def test_table_says_how_much_of_the_limit_and_how_many_times_the_others():
    cells = numbers(report.table(comparison()))
    # 300 of the 400 × (1 − 0.4 / (2 × 2)) that the load generator left over.
    assert cells[f"{OURS.name}, raw body"][1:6] == ["300 (300 – 320)", "83%", "10", "30", "3.0"]
    assert cells[f"{BENTOML.name}, multipart"][1:] == ["100 (100 – 100)", "26%", "20", "50", "9.0", "300", "5.0"]
    assert cells["of the in-process limit, multipart"] == ["65%", "83%"]
    assert cells["against BentoML, raw body"] == ["1.25 ×", "3.00 ×"]
    assert cells["12-megapixel photos against the prototype"] == ["3 ×", "0.33 × (100 against 300 requests/s)"]
    assert cells["p99 at 70% of the highest rate"] == ["under 3 × p50", "2.5 × (25 against 10 ms)"]
    assert cells["the rest get 503"] == ["in under 50 ms", "54,321: p50 3 ms, p99 30 ms"]
    assert cells["without an answer, or with another status"] == ["none", "0 and 2"]
    assert not [name for name in cells if "LitServe" in name]
    assert f"Left out: {LITSERVE.name} (no network)." in report.table(comparison())


def test_plot_has_a_bar_for_each_row_and_the_limit(tmp_path):
    found = comparison()
    report.write(found, tmp_path)
    assert "![requests per second](comparison.svg)" in (tmp_path / report.TABLE).read_text()
    first = (tmp_path / report.PLOT).read_bytes()
    report.write(found, tmp_path)
    assert (tmp_path / report.PLOT).read_bytes() == first
    (axes,) = report.draw(found).axes
    assert sorted(bar.get_width() for bar in axes.patches) == [100, 100, 100, 100, 300, 300]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "--"] == [[400, 400]]


def test_difference_is_that_of_scaled_decoding(plan):
    bar = tqdm(disable=True)
    assert phones.difference([pictures.plain()], bar, megapixels=0.2).greatest < 0.01
    found = phones.difference([pictures.noise(), pictures.plain()], bar, megapixels=0.5)
    assert found.pictures == 2 and 0 <= found.p99 <= found.greatest < 0.5


def test_packages_that_cannot_be_had_are_named(tmp_path):
    requirements = tmp_path / "some server" / "requirements.txt"
    requirements.parent.mkdir()
    requirements.write_text("./nothing-1.0-py3-none-any.whl\n")
    with pytest.raises(environments.NotInstalledError, match=r"some server: ERROR: .*nothing-1\.0"):
        environments._install(Path(sys.executable), requirements)


def test_every_server_has_an_app_and_exact_versions():
    for server in (FASTAPI, LITSERVE, BENTOML):
        assert server.folder and (FOLDER / server.folder / "app.py").is_file()
        lines = (FOLDER / server.folder / "requirements.txt").read_text().splitlines()
        assert "-r ../../../services/inference/requirements.txt" in lines
        assert all(re.match(r"#|-r |[\w-]+==[\w.]+$", line) for line in lines)
