import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import FRONT_END

from kws.recordings.manifest import read_recordings

HALF_A_SECOND = replace(FRONT_END, clip_samples=8000)


@pytest.fixture
def manifest(tmp_path) -> Path:
    rows = [
        {"name": "no/a.wav", "class": "no", "split": "test", "status": "ok"},
        {"name": "bed/b.wav", "class": "_unknown_", "split": "test", "status": "ok"},
        {"name": "no/c.wav", "class": "no", "split": "train", "status": "ok"},
        {"name": "no/d.wav", "class": "no", "split": "test", "status": "set aside"},
        {"name": "_silence_/test-00000", "class": "_silence_", "split": "test", "status": "ok"},
    ]
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with tarfile.open(tmp_path / "raw.tar", "w") as tar:
        for index, row in enumerate(rows[:4]):
            sound = io.BytesIO()
            soundfile.write(sound, np.full(4000 * (index + 1), 0.1 * (index + 1)), 16_000, format="WAV")
            info = tarfile.TarInfo(row["name"])
            info.size = sound.tell()
            sound.seek(0)
            tar.addfile(info, sound)
    return path


def test_what_is_said_in_a_split_comes_with_its_class_at_a_clips_length(manifest):
    found = read_recordings(manifest, "test", manifest.with_name("raw.tar"), HALF_A_SECOND)
    assert [recording.label for recording in found] == ["no", "_unknown_"]
    assert all(recording.waveform.shape == (8000,) for recording in found)
    assert found[0].waveform[3999] == pytest.approx(0.1, abs=1e-3)
    assert found[0].waveform[4000] == 0
    assert found[1].waveform[7999] == pytest.approx(0.2, abs=1e-3)
