"""Checkpoints are written atomically, and refused if damaged or of other settings."""

import errno
from dataclasses import replace

import pytest
import torch

from ml.training import checkpoint
from ml.training.checkpoint import CheckpointError


def test_interrupted_write_keeps_the_earlier_checkpoint(config, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, config, {"epoch": 1})

    def half(_, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.save", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write(path, config, {"epoch": 2})
    assert checkpoint.read(path) == (config, {"epoch": 1})


def test_failed_write_advises_to_resume_only_from_a_checkpoint(config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match=r"No space .* then train again"):
        patch.setattr("torch.save", full)
        checkpoint.write(path, config, {})
    checkpoint.write(path, config, {})
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match=r"No space .* --resume"):
        patch.setattr("torch.save", full)
        checkpoint.write(path, config, {})


def test_other_data_or_settings_are_refused(config, tmp_path):
    checkpoint.require_same(tmp_path, config, replace(config, blend=0.3, views=3, serve_crop=1.0))
    other = replace(config, data_fingerprint="other", batch=8)
    with pytest.raises(CheckpointError, match=r"other settings \(data_fingerprint, batch\): resume with"):
        checkpoint.require_same(tmp_path, config, other)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04 half a checkpoint"])
def test_damaged_checkpoint_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read as a checkpoint \(.+\)\.$") as caught:
        checkpoint.read(tmp_path / "checkpoint.pt")
    assert "\n" not in str(caught.value)


def test_other_or_missing_file_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        checkpoint.read(tmp_path / "weights.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match=r"cannot be read as a checkpoint \(ml\.train did not write it"):
        checkpoint.read(tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match=r"does not exist: .* with another --out"):
        checkpoint.read(tmp_path / "none.pt")
