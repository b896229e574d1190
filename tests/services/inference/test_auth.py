import pytest

from services.inference.auth import KeysError, read_keys
from tests import drawn_images as images
from tests.services.inference.client import Client, assert_problem, create_client

KEY, NEW, OTHER = "old-0123456789abcdef", "new-0123456789abcdef", "other-0123456789abcdef"
RED = images.plain()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def statuses(client: Client, *keys: str) -> list[int]:
    return [client.send(RED, headers=bearer(key)).status_code for key in keys]


@pytest.fixture
def folder(tmp_path):
    """A folder as Kubernetes mounts a Secret: the file is a link into a folder, whose link is replaced."""
    for version, text in {
        "1": f"# ours\n\nshop:{KEY}\nmonitor:{OTHER}\n",
        "2": f"shop:{NEW}\n",
        "3": "no keys",
    }.items():
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(text)
    point(tmp_path, "1")
    (tmp_path / "keys").symlink_to("current/keys")
    return tmp_path


def point(folder, version):
    (folder / "next").symlink_to(version)
    (folder / "next").replace(folder / "current")


@pytest.fixture
def guarded(bundle, folder) -> Client:
    return create_client(model_dir=bundle, api_keys_file=folder / "keys")


def test_predict_needs_a_known_key(guarded, caplog):
    caplog.set_level("INFO")
    counts = [("predictions_total", {}), ("request_count_total", {"status": "401", "endpoint": "/predict"})]
    before = [guarded.metric(name, **labels) for name, labels in counts]
    refused = guarded.send(RED)
    assert_problem(refused, 401, "unauthorized", "Authorization: Bearer")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    for key in (NEW, KEY[:-1], KEY + "x", "ä"):
        refused = guarded.send(RED, headers=bearer(key))
        assert_problem(refused, 401, "unauthorized", "key is unknown")
        assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert guarded.send(RED, auth=("shop", KEY)).status_code == 401
    after = [guarded.metric(name, **labels) for name, labels in counts]
    assert after == [before[0], before[1] + 6]
    assert statuses(guarded, KEY, OTHER) == [200, 200]
    assert caplog.records[-1].client == "monitor"
    assert not [key for key in (KEY, NEW, OTHER, KEY[:-1]) if key in repr([vars(one) for one in caplog.records])]


def test_changed_keys_are_read_and_unusable_ones_ignored(guarded, folder, caplog):
    assert statuses(guarded, KEY, NEW) == [200, 401]
    point(folder, "2")
    assert statuses(guarded, KEY, NEW) == [401, 200]
    assert not caplog.records
    point(folder, "3")
    assert statuses(guarded, KEY, NEW) == [401, 200]
    assert "line 1 is not name:key" in caplog.text
    assert "no keys" not in caplog.text
    (folder / "keys").unlink()
    assert statuses(guarded, KEY, NEW) == [401, 200]
    (folder / "keys").write_text(f"shop:{KEY}")
    assert statuses(guarded, KEY, NEW) == [200, 401]


def test_unusable_file_at_the_start_of_a_worker_accepts_no_key(bundle, tmp_path):
    client = create_client(model_dir=bundle, api_keys_file=tmp_path / "none")
    assert statuses(client, KEY) == [401]


def test_other_routes_need_no_key(guarded):
    for path in ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/static/page.js"):
        assert guarded.get(path).status_code == 200, path
    assert guarded.get("/nothing").status_code == 404


def test_keys_are_documented_only_where_they_are_needed(guarded, client):
    spec = guarded.get("/openapi.json").json
    assert spec["components"]["securitySchemes"] == {"apiKey": {"type": "http", "scheme": "bearer"}}
    operations = {path: item for path, methods in spec["paths"].items() for item in methods.values()}
    assert [path for path, item in operations.items() if "security" in item] == ["/predict", "/explain"]
    assert "401" in operations["/predict"]["responses"]
    plain = client.get("/openapi.json").json
    assert not plain["components"].get("securitySchemes")
    assert "401" not in plain["paths"]["/predict"]["post"]["responses"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "not text"),
        (b"# nobody yet\n", "holds no key"),
        (b"shop:0123456789abcdef\nshop:short\n", "line 2 is not name:key"),
        (b"0123456789abcdef0123456789abcdef\n", "line 1 is not name:key"),
    ],
)
def test_unusable_file_is_named_and_not_quoted(tmp_path, text, words):
    if text is not None:
        (tmp_path / "keys").write_bytes(text)
    with pytest.raises(KeysError, match=f"^API_KEYS_FILE is '{tmp_path / 'keys'}', but .*{words}") as error:
        read_keys(tmp_path / "keys")
    assert "short" not in str(error.value) and "0123456789abcdef" not in str(error.value)
