from pathlib import Path

import numpy as np

from kws.featurize.compute import Features
from kws.featurize.report import MANIFEST_COLUMNS, manifest_row, report_lines
from kws.featurize.splits import Chosen
from kws.recordings.clips import Clip

CHOICE = Chosen(Clip("bed/ann/1.wav", "bed", "ann"), "_unknown_", "train")
MANIFEST = Path("data/features/manifest.csv")


def test_a_clip_has_a_row_with_all_that_is_known_of_it():
    features = Features("bed/ann/1.wav", "bed/ann/1.wav#2", 1.37, 32_000, np.zeros((1, 1)), remarks=("a: 1", "b"))
    row = manifest_row(CHOICE, features)
    assert tuple(row) == MANIFEST_COLUMNS
    assert row == {
        "name": "bed/ann/1.wav#2",
        "recording": "bed/ann/1.wav",
        "start": "1.37",
        "word": "bed",
        "class": "_unknown_",
        "speaker": "ann",
        "split": "train",
        "samples": "32000",
        "status": "ok",
        "reason": "",
        "remarks": "a: 1; b",
    }


def test_a_recording_that_was_set_aside_has_its_reason():
    row = manifest_row(CHOICE, Features("bed/ann/1.wav", "bed/ann/1.wav", 0.0, 0, None, "empty file"))
    assert (row["status"], row["reason"], row["start"], row["samples"]) == ("set aside", "empty file", "0", "0")


def rows_of(*told: tuple[str, str, str]) -> list[dict[str, str]]:
    return [
        {"name": f"{recording}#2", "recording": recording, "reason": reason, "remarks": remarks}
        for recording, reason, remarks in told
    ]


def test_what_was_set_aside_and_mended_is_told_by_kind_and_where_all_of_it_stands():
    rows = rows_of(
        ("1.wav", "", ""),
        ("2.wav", "silent: every sample is zero", ""),
        ("3.wav", "silent: every sample is the same, 0.5", ""),
        ("4.wav", "", "clipped: 7 samples at full scale; at the edge: the word is cut off"),
        ("5.wav", "", "clipped: 8 samples at full scale"),
    )
    assert report_lines(rows, {"_background_noise_/tap.wav": "not used: empty file"}, MANIFEST) == [
        "set aside, silent: 2 (2.wav, 3.wav)",
        "at the edge: 1 (4.wav#2)",
        "clipped: 2 (4.wav#2, 5.wav#2)",
        "data/features/manifest.csv names them all",
        "background _background_noise_/tap.wav: not used: empty file",
    ]


def test_where_nothing_was_mended_nothing_is_told():
    assert report_lines(rows_of(("1.wav", "", "")), {}, MANIFEST) == []
