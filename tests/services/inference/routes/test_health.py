from tests.services.inference.client import assert_problem, create_client


def test_health_answers_alive(client):
    assert client.get("/health").json == {"status": "alive"}


def test_ready_names_the_model(client):
    expected = {"name": "colours", "version": "1", "classes": ["red", "green", "blue"]}
    assert client.get("/ready").json == {"status": "ready", "model": expected, "refused": None}


def test_ready_fails_while_draining(bundle, tmp_path):
    client = create_client(model_dir=bundle, drain_file=tmp_path / "drain")
    assert client.get("/ready").status_code == 200
    (tmp_path / "drain").touch()
    assert_problem(client.get("/ready"), 503, "draining", str(tmp_path / "drain"))
    assert client.get("/health").status_code == 200
    (tmp_path / "drain").unlink()
    assert client.get("/ready").status_code == 200
