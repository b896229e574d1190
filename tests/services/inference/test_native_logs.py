import pytest

from bundle.preprocess import BrokenImageError, decode
from services.inference import native_logs
from tests import drawn_images as images


def test_damaged_tiff_writes_nothing_to_the_error_output(capfd):
    data = images.encode(images.Image.new("RGB", (200, 200)), "TIFF", compression="tiff_adobe_deflate")
    damaged = data.replace(data[8:30], bytes(22))
    native_logs.silence_libtiff()
    with pytest.raises(BrokenImageError):
        decode(damaged, 32, "stretch")
    assert capfd.readouterr() == ("", "")


def test_machine_without_proc_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(native_logs, "MAPS", tmp_path / "missing")
    native_logs.silence_libtiff()
