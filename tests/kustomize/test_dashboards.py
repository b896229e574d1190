"""The dashboards' form: what Grafana would swallow without a word, and then show wrong or not at all."""

import itertools
import re

import pytest
import yaml

from tests.kustomize import dashboards

UIDS = ("service", "model")
# What Grafana 13 comes with; others, such as graph and singlestat, it replaces or no longer shows.
PANELS = {"stat", "timeseries", "heatmap", "barchart"}
COLUMNS = 24
GRAFANA = dashboards.FOLDER.parent


@pytest.fixture(params=UIDS)
def dashboard(request):
    return dashboards.load(request.param)


def test_every_file_is_a_dashboard_that_is_mounted_under_its_uid():
    files = {path.name for path in dashboards.FOLDER.iterdir()}
    assert files == {f"{uid}.json" for uid in UIDS}
    generators = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {f"dashboards/{name}" for name in files} <= {file for one in generators for file in one["files"]}
    for uid in UIDS:
        assert dashboards.load(uid)["uid"] == uid


def test_a_dashboard_is_whole_and_asks_nothing_at_its_import(dashboard):
    assert "__inputs" not in dashboard and "id" not in dashboard
    assert dashboard["schemaVersion"] >= 42
    assert dashboard["description"] and dashboard["refresh"] and dashboard["time"]["to"] == "now"
    (link,) = dashboard["links"]
    assert set(link["tags"]) <= set(dashboard["tags"])


def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS and place["h"] > 0, panel["title"]
    for one, other in itertools.combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one['title']} and {other['title']} overlap"


def test_every_panel_says_what_it_shows_in_which_unit(dashboard):
    for panel in dashboard["panels"]:
        assert panel["type"] in PANELS, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        if panel["type"] == "heatmap":
            assert panel["options"]["yAxis"]["unit"], panel["title"]


def test_every_question_goes_to_the_provisioned_data_source(dashboard):
    (source,) = yaml.safe_load((GRAFANA / "datasources.yaml").read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    assert all(variable["datasource"] == wanted for variable in dashboard["templating"]["list"])
    for panel in dashboard["panels"]:
        assert panel["datasource"] == wanted, panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["expr"].strip() and "datasource" not in target, panel["title"]


def test_every_variable_is_used_and_every_used_one_is_there(dashboard):
    made = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set()
    for _, target in dashboards.targets(dashboard):
        used |= set(re.findall(r"\$\{?(\w+)", target["expr"]))
    assert {name for name in used if not name.startswith("__")} == made


def test_rates_are_as_long_as_grafana_says_or_as_their_description_says(dashboard):
    """A range shorter than four scrapes has gaps; Grafana knows the data source's interval."""
    for panel, target in dashboards.targets(dashboard):
        for window in re.findall(r"\[(.+?)\]", target["expr"]):
            words = {"5m": "5 minutes", "1h": "last hour", "$__range": "time range"}
            assert window == "$__rate_interval" or words[window] in panel["description"], panel["title"]


def test_a_bar_chart_joins_what_it_compares():
    """Its two answers have one column in common, by which the bars are set side by side."""
    charts = [panel for uid in UIDS for panel in dashboards.load(uid)["panels"] if panel["type"] == "barchart"]
    assert len(charts) == 2
    for panel in charts:
        by = panel["options"]["xField"]
        join = panel["transformations"][0]
        assert join == {"id": "joinByField", "options": {"byField": by, "mode": "inner"}}
        for target in panel["targets"]:
            assert target["format"] == "table" and target["instant"]
            assert re.search(rf"by \({by}\)", target["expr"])


def test_the_names_people_look_for_are_there():
    expressions = {target["expr"] for _, target in dashboards.targets(dashboards.load("service"))}
    assert "sum(request_count_total)" in expressions
    assert any(re.match(r"sum by \(endpoint\) \(rate\(request_count_total", one) for one in expressions)
