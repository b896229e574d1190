"""The comparison: short runs of real servers, and the tables and plots."""

import contextlib
import dataclasses
import math
import sys

import pytest
from tqdm import tqdm

from benchmarks import comparison, growth, limit, overload, photos
from benchmarks.compare import Plan, measure, rounds
from benchmarks.drive import RefusedError, Row, Run, drive
from benchmarks.load import payload
from benchmarks.load.result import LOST, Result, Sample
from benchmarks.servers import BENTOML, FASTAPI, LITSERVE, MULTIPART, OURS, RAW, Server, environment
from benchmarks.studies import bundles, endurance

IMAGES = [photos.draw(seed, (120, 90)) for seed in range(2)]
RUN = Run(rate=100, refused=0, p50=20, p99=50, cpu_ms=9, memory_mb=300, generator_cpu_seconds=0.2, seconds=2)


def rows_of(markdown: str) -> dict[str, list[str]]:
    """The cells of Markdown tables by the first, or by the first two in wide tables."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return {cells[0] + (f", {cells[1]}" if len(cells) > 3 else ""): cells[1:] for cells in rows}


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan(IMAGES, tmp_path / "log", rounds=1, seconds=0.2, warm_up=0.1, overload=0.5, connections=2, workers=1)


def test_rounds_measure_each_form_and_name_broken_servers(plan):
    found = rounds(plan, (OURS, Server("broken", "no_such_module")), tqdm(disable=True))
    (without,) = found.limits
    assert without.rate > 0 and without.cpu_seconds > 0
    assert [(row.name, row.form) for row in found.rows] == [(OURS.name, RAW), (OURS.name, MULTIPART)]
    for row in found.rows:
        (run,), (start,) = row.runs, row.starts
        assert start > 0 and run.rate > 0 and run.refused == 0 and 0 < run.p50 <= run.p99
        assert run.memory_mb > 40 and run.seconds >= 0.2  # no Python with these libraries is smaller
    assert "No module named no_such_module" in found.left_out["broken"]
    assert "Left out: broken (broken did not start" in comparison.describe(found)


def test_refused_requests_are_an_error(plan, monkeypatch):
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "2000")
    with pytest.raises(RefusedError, match=r"this service, raw body: .*413"):
        measure(plan, OURS, plan.images, {(OURS.name, RAW): Row(OURS.name, RAW)})


def test_server_gets_its_headers(service):
    contradicting = dataclasses.replace(OURS, headers=("Content-Length: 1",))
    with pytest.raises(RefusedError, match=r"this service, raw body: .*400"):
        drive(dataclasses.replace(service, server=contradicting), RAW, IMAGES, seconds=0.1, warm_up=0.1)


def test_overload_counts_all_requests(service, monkeypatch):
    monkeypatch.setattr(overload, "RECOVERY_SECONDS", 0.3)
    requests = payload.requests(list(photos.scale(IMAGES, 0.8)))
    found = overload.overload(service.url, requests, highest=20, times=50, seconds=0.3)
    assert found.rate == 1000 and found.result.statuses.total() == 300
    assert found.result.statuses[503] > 0 and found.result.statuses[200] > 0
    assert 0 <= found.recovery < math.inf


def test_growth_measures_each_value(service, tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "running", lambda *_: contextlib.nullcontext(service))  # starts cost seconds
    meter = growth.Meter(IMAGES, 0.2, 0.1, 1, tmp_path / "log")
    values = {"connections": 1, "images": 3, "megapixels": 0.02, "workers": 1}
    parameters = [dataclasses.replace(each, values=[values[each.name]]) for each in growth.PARAMETERS]
    found = list(growth.measure(meter, parameters))
    assert found[1].rates == [3 * found[1].runs[0].rate] and found[1].runs[0].rate > 0
    growth.write(found, "About.", tmp_path / "out")
    text = (tmp_path / "out" / growth.TABLE).read_text()
    for one in found:
        (value,), (run,) = one.parameter.values, one.runs
        assert f"## {one.parameter.title}" in text and f"| {value:g} | {run.rate:.1f} | 0% |" in text
        plot = f"growth_{one.parameter.name}.svg"
        assert f"({plot})" in text and (tmp_path / "out" / plot).read_text().startswith("<?xml")


@pytest.fixture
def made_up() -> comparison.Comparison:
    """This service at 300 requests/s, all others at 100, and a limit of 400."""
    fast = Run(rate=300, refused=0, p50=10, p99=30, cpu_ms=3, memory_mb=200, generator_cpu_seconds=0.4, seconds=2)
    rows = [Row(OURS.name, form, [fast, dataclasses.replace(fast, rate=320), fast], [0.5]) for form in (RAW, MULTIPART)]
    rows += [Row(server.name, form, [RUN] * 3, [5.0]) for server in (FASTAPI, BENTOML) for form in server.forms]
    found = comparison.Comparison([limit.Limit(400, 0.0025)] * 3, rows, {LITSERVE.name: "no network"}, 2, 8, "2 photos")
    found.phone_photos = [Row(OURS.name, RAW, [fast] * 2, [1]), Row(FASTAPI.name, RAW, [RUN] * 2, [1])]
    found.tails = [Result(1, 0, [Sample(0, seconds, 200)] * 9) for seconds in (0.01, 0.02, 0.04)]
    samples = [Sample(0, 0.28, 200)] * 120 + [Sample(0, 0.003, 503)] * 200 + [Sample(0, 30, LOST), Sample(0, 1, 500)]
    found.overload = overload.Overload(1200, Result(2, 0, samples), 1.4)
    return found


def test_table_has_shares_ratios_and_goals(made_up):
    text = comparison.describe(made_up)
    cells = rows_of(text)
    # 300 of 400 × (1 − 0.4 / (2 × 2)): the load generator took the rest.
    assert cells[f"{OURS.name}, raw body"][1:6] == ["300 (300 – 320)", "83%", "10", "30", "3.0"]
    assert cells[f"{BENTOML.name}, multipart"][1:] == ["100 (100 – 100)", "26%", "20", "50", "9.0", "300", "5.0"]
    assert cells["of the in-process limit, multipart"] == ["65%", "83%"]
    assert cells["against BentoML, raw body"] == ["1.25 ×", "3.00 ×"]
    assert cells["12-megapixel photos against FastAPI"] == ["3 ×", "3.00 × (300 against 100 requests/s)"]
    assert cells["p99 at 70% of the highest rate"] == ["under 3 × p50", "1.0 × (20 against 20 ms)"]
    assert cells["the rest get 503"] == ["in under 50 ms", "200: p50 3 ms, p99 3 ms"]
    assert cells["no response, or another status"] == ["none", "1 and 1"]
    assert f"Left out: {LITSERVE.name} (no network)." in text and not [name for name in cells if "LitServe" in name]


def test_plot_has_a_bar_for_each_row_and_the_limit(made_up, tmp_path):
    comparison.write(made_up, tmp_path)
    assert "![requests per second](comparison.svg)" in (tmp_path / comparison.TABLE).read_text()
    first = (tmp_path / comparison.PLOT).read_bytes()
    comparison.write(made_up, tmp_path)
    assert (tmp_path / comparison.PLOT).read_bytes() == first
    (axes,) = comparison.draw(made_up).axes
    assert sorted(bar.get_width() for bar in axes.patches) == [100, 100, 100, 100, 300, 300]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "--"] == [[400, 400]]


def test_missing_package_is_named(tmp_path):
    interpreter = tmp_path / ".venv/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    interpreter.chmod(0o755)
    (tmp_path / "requirements.txt").write_text("./nothing-1.0-py3-none-any.whl\n")
    with pytest.raises(environment.NotInstalledError, match=r"nothing-1\.0"):
        environment.python(tmp_path)


def test_bundles_study_prints_a_row_per_bundle(bundle_folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bundles", str(bundle_folder)])
    bundles.main()
    (cells,) = (cells for name, cells in rows_of(capsys.readouterr().out).items() if not name.startswith(("net", "-")))
    assert float(cells[3]) > 0 and float(cells[4]) > 0


def test_endurance_study_prints_memory(monkeypatch, capsys, service):
    monkeypatch.setattr(endurance, "running", lambda *_: contextlib.nullcontext(service))
    monkeypatch.setattr(endurance, "MEGAPIXELS", (0.02,))
    monkeypatch.setattr(endurance, "SLICE", 0.1)
    monkeypatch.setattr(sys, "argv", ["endurance", "--most", "2", "--requests", "2", "--every", "1"])
    endurance.main()
    assert [line.count("|") for line in capsys.readouterr().out.splitlines()] == [4] * 4
