"""The dashboards: mistakes that Grafana ignores, and then shows wrong data or none."""

import itertools
import re

import pytest
import yaml

from tests.kustomize import dashboards

COLUMNS = 24
GRAFANA = dashboards.FOLDER.parent


@pytest.fixture(params=dashboards.UIDS)
def dashboard(request):
    return dashboards.load(request.param)


def test_files_are_mounted_under_their_uid():
    files = {path.name for path in dashboards.FOLDER.iterdir()}
    assert files == {f"{dashboards.load(uid)['uid']}.json" for uid in dashboards.UIDS}
    generators = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {f"dashboards/{name}" for name in files} <= {file for one in generators for file in one["files"]}


def test_dashboard_is_not_an_export(dashboard):
    assert "__inputs" not in dashboard and "id" not in dashboard
    assert dashboard["description"] and dashboard["refresh"] and dashboard["time"]["to"] == "now"
    (link,) = dashboard["links"]
    assert set(link["tags"]) <= set(dashboard["tags"])


def test_panels_are_distinct_and_do_not_overlap(dashboard):
    panels = dashboard["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(COLUMNS))


def test_panels_have_a_description_a_unit_and_the_provisioned_source(dashboard):
    (source,) = yaml.safe_load((GRAFANA / "datasources.yaml").read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    assert all(variable["datasource"] == wanted for variable in dashboard["templating"]["list"])
    for panel in dashboard["panels"]:
        assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["type"] != "heatmap" or panel["options"]["yAxis"]["unit"], panel["title"]
        assert panel["datasource"] == wanted and not any("datasource" in target for target in panel["targets"])
        assert 0 < len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_variables_are_defined_and_used(dashboard):
    used = {name for _, target in dashboards.targets(dashboard) for name in re.findall(r"\$\{?(\w+)", target["expr"])}
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {name for name in used if not name.startswith("__")} == defined


def test_rates_use_grafanas_interval_or_a_described_one(dashboard):
    """A range shorter than four scrapes has gaps; Grafana knows the data source's interval."""
    for panel, target in dashboards.targets(dashboard):
        for window in re.findall(r"\[(.+?)\]", target["expr"]):
            words = {"5m": "5 minutes", "1h": "last hour", "$__range": "time range"}
            assert window == "$__rate_interval" or words[window] in panel["description"], panel["title"]


def test_bar_charts_join_their_queries_by_one_label():
    charts = [
        panel for uid in dashboards.UIDS for panel in dashboards.load(uid)["panels"] if panel["type"] == "barchart"
    ]
    assert charts
    for panel in charts:
        by = panel["options"]["xField"]
        assert panel["transformations"][0] == {"id": "joinByField", "options": {"byField": by, "mode": "inner"}}
        for target in panel["targets"]:
            assert target["format"] == "table" and target["instant"]
            assert re.search(rf"by \({by}\)", target["expr"])


def test_service_dashboard_shows_request_count_by_endpoint():
    expressions = {target["expr"] for _, target in dashboards.targets(dashboards.load("service"))}
    assert "sum(request_count_total)" in expressions
    assert any(re.match(r"sum by \(endpoint\) \(rate\(request_count_total", one) for one in expressions)
