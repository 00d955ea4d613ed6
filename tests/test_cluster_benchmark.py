"""The benchmark of the cluster measures what it says."""

import importlib
import runpy
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_shards import pack, spoken

from kws.audio.decode import decode_recording
from kws.core.files import read_csv, write_csv

STAGES = ("download", "featurize")


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cluster")


def test_recordings_have_their_word_from_the_folder_or_from_the_archive(measuring, tmp_path):
    one = pack(tmp_path / "all.tar", {"set/yes/ann_nohash_0.wav": b"1", "set/_background_noise_/tap.wav": b"2"})
    assert measuring.sources(one) == [("yes", "ann", b"1")]
    pack(tmp_path / "words" / "yes.tar", {"ann_nohash_0.wav": b"1"})
    pack(tmp_path / "words" / "no.tar", {"bob_nohash_0.wav": b"2", "bob_nohash_1.wav": b""})
    assert measuring.sources(tmp_path / "words") == [("no", "bob", b"2"), ("yes", "ann", b"1")]


def test_each_number_gives_another_clip_and_the_same_one_each_time(measuring):
    recordings = [("yes", "ann", spoken(1)), ("no", "bob", spoken(2))]
    made = [measuring.made_clip(number, recordings) for number in range(4)]
    again = [measuring.made_clip(number, recordings) for number in range(4)]
    assert [name for name, _ in again] == [name for name, _ in made]
    assert [name.split("/")[0] for name, _ in made] == ["yes", "no", "yes", "no"]
    assert len({name.split("/")[1].split("_nohash_")[0] for name, _ in made}) == 4  # each turn has people of its own
    sounds = [decode_recording(data, 16_000).samples for _, data in made]
    for sound, (_, data) in zip(sounds, again, strict=True):  # the bytes differ: Ogg draws a number for each stream
        np.testing.assert_array_equal(decode_recording(data, 16_000).samples, sound)
    assert not np.array_equal(sounds[0], sounds[2])
    assert all(0.8 * 16_000 < len(sound) <= 16_000 for sound in sounds)


def test_parts_hold_all_clips_once(measuring, tmp_path):
    from kws.recordings.archive import places_in

    archive = pack(tmp_path / "all.tar", {"yes/ann_nohash_0.wav": spoken(1)})
    measuring.write_part(range(3), tmp_path / "1.tar", archive)
    measuring.write_part(range(3, 5), tmp_path / "2.tar", archive)
    names = [name for part in ("1.tar", "2.tar") for name, _, _ in places_in(tmp_path / part)]
    assert [int(name.rpartition("_")[2].removesuffix(".opus")) for name in names] == list(range(5))


def test_the_digest_is_of_all_that_featurize_writes_and_of_nothing_else(measuring, tmp_path):
    for name in ("data/features/spec.json", "metrics/featurize.json", "metrics/download.json", "plots/features/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = measuring.digest(tmp_path)
    (tmp_path / "metrics/download.json").write_text("other")
    assert measuring.digest(tmp_path) == before
    for name in ("data/features/spec.json", "metrics/featurize.json", "plots/features/a.png"):
        (tmp_path / name).write_text("other")
        assert measuring.digest(tmp_path) != before
        before = measuring.digest(tmp_path)


def test_rows_of_other_cases_and_of_other_numbers_of_clips_stay_in_the_table(measuring, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "CSV", tmp_path / "cluster.csv")
    for row in (
        {"case": "names: download", "clips": 10, "seconds": 1},
        {"case": "Dask", "clips": 20, "seconds": 2},
        {"case": "Dask", "clips": 10, "seconds": 3},
        {"case": "Dask", "clips": 20, "seconds": 4},
    ):
        measuring.write_table([row])
    rows = [(row["case"], row["clips"], row["seconds"]) for row in read_csv(tmp_path / "cluster.csv")]
    assert rows == [("names: download", "10", "1"), ("Dask", "10", "3"), ("Dask", "20", "4")]


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """What docs/readme.py says of runs that take 3 s and 0.1 ms a clip in the stage, 2 s and 2 ms in a worker."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    same = {"case": "Dask", "workers": 1, "cores": 1}
    write_csv(
        Path("benchmarks/cluster.csv"),
        [
            same
            | {
                "clips": 1000,
                "stage_cpu_seconds": 3.1,
                "cpu_seconds": 7.1,
                "features_mb": 15,
                "stage_mb": 101,
                "scheduler_mb": 100,
            },
            same
            | {
                "clips": 101_000,
                "stage_cpu_seconds": 13.1,
                "cpu_seconds": 217.1,
                "features_mb": 2015,
                "stage_mb": 201,
                "scheduler_mb": 150,
            },
            *({"case": f"names: {stage}", "clips": 100, "stage_mb": 110, "seconds": 4} for stage in STAGES),
            *({"case": f"names: {stage}", "clips": 1100, "stage_mb": 210, "seconds": 14} for stage in STAGES),
        ],
        [
            "case",
            "clips",
            "workers",
            "cores",
            "seconds",
            "stage_cpu_seconds",
            "cpu_seconds",
            "stage_mb",
            "scheduler_mb",
            "features_mb",
        ],
    )
    return runpy.run_path(str(ROOT / "docs" / "readme.py"))["cluster_extrapolation"]


def test_what_is_done_once_is_not_multiplied_on_paper(paper):
    told = paper(1_000_000, 59_232, cores=10, price=3.6, bytes_a_second=1e9, reads_a_second=10_000)
    assert told == (
        "|  | 1 machine | 10 machines | 100 machines |\n"
        "| --- | --- | --- | --- |\n"
        "| one process chooses, plans, collects | 1.7 min | 1.7 min | 1.7 min |\n"  # 3 + 100 s
        "| to find the recordings, it reads the tars once | 1.0 min | 1.0 min | 1.0 min |\n"
        "| all workers compute: 0.6 h of a core | 3.4 min | 0.4 min | 0.1 min |\n"  # 2 + 200, 20, 2 s
        "| the file server answers a short read for each recording | 1.7 min | 1.7 min | 1.7 min |\n"
        "| it moves recordings and features | 1.3 min | 1.3 min | 1.3 min |\n"
        "| from begin to end: the first two, and the longest of the others | 6.1 min | 4.4 min | 4.4 min |\n"
        "| cost | 3.65 $ | 26.30 $ | 263.00 $ |\n"
        "\n"
        "The recordings take 0.06 TB as tars, the features 0.02 TB in 977 shards. If all cores of 100 machines "
        "computed at full speed, they would need 250,000 short reads and write 5.0 GB a second.\n"
        "\n"
        "By the table of names, so many names and sounds of 50 ms take `download` 100.1 GB of memory and 166.7 min, "
        "`featurize` 100.1 GB of memory and 166.7 min, alone."
    )
