"""API keys and the port of the metrics: who gets in, and what is told to those who do not."""

import pytest
import requests

from services.inference import keys
from tests import drawn_images as pictures
from tests import servers
from tests.drawn_images import RED
from tests.services.inference.serving import service, start_error
from tests.services.inference.test_problems import answer, assert_problem, connect

OLD, NEW, OTHER = "old-0123456789abcdef", "new-0123456789abcdef", "other-0123456789abcdef"
RED_PICTURE = pictures.plain(RED)


def bearer(key):
    return {"headers": {"Authorization": f"Bearer {key}"}}


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file as Kubernetes mounts it: a link to a link, of which the folder's is changed."""
    folder = tmp_path_factory.mktemp("secret")
    for version, text in {
        "1": f"# ours\n\nshop:{OLD}\nmonitor:{OTHER}\n",
        "2": f"shop:{NEW}\n",
        "3": "no keys",
    }.items():
        (folder / version).mkdir()
        (folder / version / "keys").write_text(text)
    point(folder, "1")
    (folder / "keys").symlink_to("current/keys")
    return folder / "keys"


def point(folder, version):
    (folder / "next").symlink_to(version)
    (folder / "next").replace(folder / "current")


@pytest.fixture(scope="module")
def guarded(bundle, secret):
    with service(secret.parent, MODEL_DIR=bundle, API_KEYS_FILE=secret) as running:
        running.wait_for_workers()
        yield running


def test_only_a_known_key_gets_an_answer_and_it_can_be_changed_while_serving(guarded, secret):
    for key in (OLD, OTHER):
        response = guarded.predict(RED_PICTURE, **bearer(key))
        assert response.status_code == 200
    assert guarded.line(response.headers["X-Request-ID"])["client"] == "monitor"
    refused = guarded.predict(RED_PICTURE)
    assert_problem(refused, 401, "Authorization: Bearer")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    strangers = [bearer(NEW), bearer(OLD[:-1]), bearer(OLD + "x"), bearer("ä"), {"auth": ("shop", OLD)}]
    for stranger in strangers:
        assert_problem(guarded.predict(RED_PICTURE, **stranger), 401, "key")
    point(secret.parent, "2")
    for _ in range(10):  # both workers
        assert guarded.predict(RED_PICTURE, **bearer(NEW)).status_code == 200
        wrong = guarded.predict(RED_PICTURE, **bearer(OLD))
        assert_problem(wrong, 401, "not known")
    assert wrong.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert not guarded.lines_at("WARNING", "ERROR")
    point(secret.parent, "3")
    assert guarded.predict(RED_PICTURE, **bearer(NEW)).status_code == 200
    (line, *_) = guarded.lines_at("ERROR")
    assert "line 1 is not name:key" in line["message"]
    said = guarded.log.read_text()
    assert not [key for key in (OLD, NEW, OTHER, OLD[:-1], "no keys") if key in said]
    point(secret.parent, "1")


def test_what_probes_scrapers_and_people_need_stays_open(guarded):
    for path in ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/static/page.js"):
        assert guarded.get(path).status_code == 200, path
    assert guarded.get("/nothing").status_code == 404


def test_no_key_is_said_before_the_body_is_read(guarded):
    with connect(guarded, 10**6) as connection:
        status, _, text = answer(connection)
    assert status == 401
    assert "urn:problem:unauthorized" in text


def test_the_documentation_knows_of_keys_only_where_they_are_asked_for(guarded, shared):
    spec = guarded.get("/openapi.json").json()
    assert spec["components"]["securitySchemes"] == {"apiKey": {"type": "http", "scheme": "bearer"}}
    operations = {path: item for path, methods in spec["paths"].items() for item in methods.values()}
    assert [path for path, item in operations.items() if "security" in item] == ["/predict"]
    assert "401" in operations["/predict"]["responses"]
    plain = shared.get("/openapi.json").json()
    assert not plain["components"].get("securitySchemes")
    assert "401" not in plain["paths"]["/predict"]["post"]["responses"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("# nobody yet\n", "holds no key"),
        ("shop:0123456789abcdef\nshop:short\n", "line 2 is not name:key"),
        ("0123456789abcdef0123456789abcdef\n", "line 1 is not name:key"),
    ],
)
def test_a_file_without_usable_keys_ends_the_start_and_is_not_quoted(tmp_path, text, words):
    file = tmp_path / "keys"
    if text is not None:
        file.write_text(text)
    status, said = start_error(tmp_path, API_KEYS_FILE=str(file))
    assert status not in (0, None)
    last = said.splitlines()[-1]
    assert last.startswith(f"API_KEYS_FILE is '{file}', but ") and words in last
    assert "short" not in said and "0123456789abcdef" not in said


def test_a_file_that_goes_away_leaves_the_last_keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"shop:{OLD}")
    known = keys.Keys(file)
    file.unlink()
    assert (known.owner(OLD), known.owner(NEW)) == ("shop", None)
    file.write_text(f"shop:{NEW}")
    assert (known.owner(OLD), known.owner(NEW)) == (None, "shop")


def test_a_worker_that_starts_with_unusable_keys_lets_nobody_in(tmp_path):
    assert keys.Keys(tmp_path / "none").owner(OLD) is None


def test_the_metrics_can_have_a_port_of_their_own(bundle, tmp_path):
    port = servers.free_port()
    with service(tmp_path, MODEL_DIR=bundle, METRICS_PORT=port) as running:
        assert running.predict(RED_PICTURE).status_code == 200
        assert_problem(running.get("/metrics"), 404)
        assert "/metrics" not in running.get("/").text
        inside = f"http://127.0.0.1:{port}"
        text = requests.get(f"{inside}/metrics", timeout=30).text
        assert 'request_count_total{endpoint="/predict",method="POST",status="200"} 1.0\n' in text
        assert requests.get(f"{inside}/health", timeout=30).status_code == 200
        assert requests.post(f"{inside}/predict", data=RED_PICTURE, timeout=30).status_code == 404
        # The port is the socket's own, whatever a client says of it.
        lying = {"Host": f"127.0.0.1:{port}", "X-Forwarded-Port": str(port)}
        assert running.get("/metrics", headers=lying).status_code == 404


def test_who_is_refused_is_counted_and_nothing_is_predicted(guarded):
    guarded.predict(RED_PICTURE)
    counts = [("request_count_total", {"endpoint": "/predict", "status": "401"}), ("predictions_total", {})]
    refused, predicted = (guarded.metric(name, **labels) for name, labels in counts)
    guarded.predict(RED_PICTURE)
    assert [guarded.metric(name, **labels) for name, labels in counts] == [refused + 1, predicted]
