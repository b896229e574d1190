"""Settings from the environment, and the sentence about a wrong one."""

import pytest

from services.monitor.settings import Settings, SettingsError, describe_all, load


def load_error(monkeypatch, name, value):
    monkeypatch.setenv(name, str(value))
    with pytest.raises(SettingsError) as error:
        load()
    return str(error.value)


def test_load_without_variables_gives_defaults():
    assert load() == Settings.model_construct()


def test_load_mlflow_on_this_machine_follows_its_port(monkeypatch):
    monkeypatch.setenv("MLFLOW_PORT", "5001")
    assert load().mlflow_tracking_uri == "http://127.0.0.1:5001"
    assert "http://127.0.0.1:5001" in describe_all()


def test_load_empty_variable_counts_as_unset(monkeypatch, tmp_path):
    monkeypatch.setenv("PREDICT_URL", "")
    monkeypatch.setenv("LABELLED_IMAGES", str(tmp_path))
    assert load() == Settings.model_construct(labelled_images=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREDICT_URL", "localhost:8000"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"),
        ("PUSHGATEWAY_URL", "pushgateway:9091"),
        ("MIN_ACCURACY", "95"),
        ("MIN_ACCURACY", "nan"),
        ("CHECK_PICTURES", "0"),
        ("PUSHGATEWAY_TIMEOUT", "0"),
        ("CHECK_TIMEOUT", "soon"),
        ("CHECK_TIMEOUT", "inf"),
        ("CHECK_TIMEOUT", "1e-9"),
        ("PREDICT_TIMEOUT", "1e300"),
        ("TRACKING_TIMEOUT", "nan"),
        ("LABELLED_IMAGES", "/nowhere/at/all"),
        ("LABELLED_IMAGES", "x" * 300),
    ],
)
def test_wrong_setting_error_names_it_and_its_value(monkeypatch, name, value):
    message = load_error(monkeypatch, name, value)
    assert message.startswith(f"{name}='{value}': ") and len(message.splitlines()) == 1


@pytest.mark.parametrize("text", [None, "two keys", "", "\N{SNOWMAN}", b"\xff"])
def test_wrong_key_file_error_does_not_quote_it(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "key").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = load_error(monkeypatch, "PREDICT_API_KEY_FILE", tmp_path / "key")
    assert message.startswith(f"PREDICT_API_KEY_FILE='{tmp_path}/key': ")
    assert not text or str(text) not in message


def test_wrong_address_error_masks_its_password(monkeypatch):
    message = load_error(monkeypatch, "PUSHGATEWAY_URL", "user:hush@127.0.0.1:9091")
    assert message.startswith("PUSHGATEWAY_URL='***@127.0.0.1:9091': ")
