import csv
import io
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import FRONT_END, source_of

from kws.core.files import write_csv
from kws.recordings import manifest as manifest_module
from kws.recordings.manifest import read_recordings, read_waveforms, spoken_rows, usable_rows

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
    rows = [
        row | {"recording": row["name"], "start": "0", "word": row["name"].split("/")[0], "speaker": "ada"}
        for row in rows
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
    source = source_of(manifest.with_name("raw.tar"))
    found = list(read_recordings(spoken_rows(manifest, "test"), source, HALF_A_SECOND))
    told = [(recording.name, recording.speaker, recording.word, recording.label) for recording in found]
    assert told == [("no/a.wav", "ada", "no", "no"), ("bed/b.wav", "ada", "bed", "_unknown_")]
    assert all(recording.waveform.shape == (8000,) for recording in found)
    assert found[0].waveform[3999] == pytest.approx(0.1, abs=1e-3)
    assert found[0].waveform[4000] == 0
    assert found[1].waveform[7999] == pytest.approx(0.2, abs=1e-3)


def test_clips_of_one_recording_start_where_the_manifest_says(tmp_path):
    samples = np.arange(4000) / 8000
    sound = io.BytesIO()
    soundfile.write(sound, samples, 8000, format="WAV", subtype="FLOAT")
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(800), 8000, format="WAV")
    with tarfile.open(tmp_path / "raw.tar", "w") as tar:
        for name, file in (("no/takes.wav", sound), ("_silence_/own.wav", silent)):
            info = tarfile.TarInfo(name)
            info.size = file.tell()
            file.seek(0)
            tar.addfile(info, file)
    starts = {"no/takes.wav": "0.05", "no/takes.wav#2": "0.2", "no/takes.wav#3": "0.47"}
    common = {"recording": "no/takes.wav", "split": "test"}
    rows = [{"name": name, "start": start} | common for name, start in starts.items()]
    rows += [
        {"name": "_silence_/own.wav", "recording": "_silence_/own.wav", "start": "0", "split": "test"},
        # made, in no archive
        {"name": "_silence_/test-00000", "recording": "_silence_/test-00000", "start": "0", "split": "test"},
    ]
    source = source_of(tmp_path / "raw.tar")
    heard = {row["name"]: waveform for row, waveform in read_waveforms(rows, source, 8000, 0.1)}
    assert heard.keys() == starts.keys() | {"_silence_/own.wav"}
    np.testing.assert_allclose(heard["no/takes.wav"], samples[400:1200], rtol=1e-6)
    np.testing.assert_allclose(heard["no/takes.wav#2"], samples[1600:2400], rtol=1e-6)
    np.testing.assert_allclose(heard["no/takes.wav#3"], [*samples[3760:], *[0] * 560], rtol=1e-6)
    assert heard["_silence_/own.wav"].tolist() == [0] * 800


def test_recordings_are_read_one_by_one_as_they_are_wanted(manifest, monkeypatch):
    decoded = []
    whole = manifest_module.decode_recording
    monkeypatch.setattr(manifest_module, "decode_recording", lambda *a, **k: decoded.append(1) or whole(*a, **k))
    found = read_recordings(spoken_rows(manifest, "test"), source_of(manifest.with_name("raw.tar")), HALF_A_SECOND)
    assert not decoded
    assert next(found).name == "no/a.wav"
    assert len(decoded) == 1


def test_a_split_of_a_large_manifest_costs_the_memory_of_a_row(tmp_path):
    columns = ("name", "recording", "start", "word", "class", "speaker", "split", "samples", "status", "reason")
    rows = (
        {name: f"{name}{number}" for name in columns} | {"split": "train" if number % 100 else "test", "status": "ok"}
        for number in range(20_000)
    )
    write_csv(tmp_path / "manifest.csv", rows, columns)
    tracemalloc.start()
    kept = sum(1 for _ in usable_rows(tmp_path / "manifest.csv", "test"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept == 200
    assert most < 1e5  # all rows have 20 MB, those of the test 0.2
