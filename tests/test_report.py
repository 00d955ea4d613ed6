from pathlib import Path

import numpy as np

from kws.featurize.chosen import Chosen
from kws.featurize.compute import Features
from kws.featurize.report import MANIFEST_COLUMNS, Report, left_out_row, manifest_row
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


UNHEARD = {"unheard_validation": "dataset", "unheard_test": "computed"}


def report_of(*told: tuple[str, str, str], split: str = "train", word: str = "yes") -> Report:
    """The report on recordings, each with the reason why it cannot be used and with remarks."""
    report = Report(["yes"], UNHEARD)
    for recording, reason, remarks in told:
        row = dict.fromkeys(MANIFEST_COLUMNS, "") | {"name": f"{recording}#2", "recording": recording, "class": word}
        status = "set aside" if reason else "ok"
        report.add(row | {"split": split, "status": status, "reason": reason, "remarks": remarks})
    return report


TOLD = (
    ("1.wav", "", ""),
    ("2.wav", "silent: every sample is zero", ""),
    ("3.wav", "silent: every sample is the same, 0.5", ""),
    ("4.wav", "", "clipped: 7 samples at full scale; at the edge: the word is cut off"),
    ("5.wav", "", "clipped: 8 samples at full scale"),
)


def test_what_was_set_aside_and_mended_is_told_by_kind_and_where_all_of_it_stands():
    report = report_of(*TOLD)
    assert report.lines({"_background_noise_/tap.wav": "not used: empty file"}, MANIFEST) == [
        "set aside, silent: 2 (2.wav, 3.wav)",
        "at the edge: 1 (4.wav#2)",
        "clipped: 2 (4.wav#2, 5.wav#2)",
        "data/features/manifest.csv names them all",
        "background _background_noise_/tap.wav: not used: empty file",
    ]
    assert (report.set_aside, report.clips("train"), report.clips("test")) == (2, 3, 0)
    assert report.examples["yes"] == report.shown
    assert report.shown["recording"] == "1.wav"


def test_of_computed_voices_alone_nothing_is_told_and_no_word_is_shown():
    report = report_of(*TOLD, split="unheard_test", word="_unknown_")
    assert report.lines({}, MANIFEST) == []
    assert (report.set_aside, report.clips("unheard_test"), report.examples, report.shown) == (2, 3, {}, {})


def test_of_computed_voices_beside_people_reasons_are_told_and_what_was_mended_is_not():
    report = report_of(*((f"_computed_/{name}", reason, remarks) for name, reason, remarks in TOLD))
    assert report.lines({}, MANIFEST)[:-1] == ["set aside, silent: 2 (_computed_/2.wav, _computed_/3.wav)"]
    assert (report.clips("train"), report.clips("train", computed=True)) == (3, 3)


def test_recordings_in_no_split_are_told_and_count_as_not_set_aside():
    report = Report(["yes"], UNHEARD)
    assert report.add(left_out_row(CHOICE, "copy: of another"))  # it goes into the list of the unusable ones
    assert report.lines({}, MANIFEST)[0] == "set aside, copy: 1 (bed/ann/1.wav)"


def test_a_report_holds_no_more_of_a_million_clips_than_of_three():
    report = report_of(*((f"{number}.wav", "", "clipped: 7 samples") for number in range(1000)))
    assert report.lines({}, MANIFEST)[0] == "clipped: 1000 (0.wav#2, 1.wav#2, 2.wav#2 and 997 more)"
    assert len(report._remarks._names["clipped"].first) == 3


def test_where_nothing_was_mended_nothing_is_told():
    assert report_of(("1.wav", "", "")).lines({}, MANIFEST) == []
