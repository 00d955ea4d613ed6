import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, make_spec

from kws.commands import data_curve
from kws.core.files import write_csv, write_json
from kws.core.naming import UNKNOWN
from kws.evaluate.answers import Answers, write_answers


def row(share: float, clips: float, error: float) -> dict[str, float]:
    accuracy = round(1 - error, 6)
    return {
        "share": share,
        "people": 4 * clips / 10,
        "clips_a_class": clips,
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.02,
        "accuracy_high": accuracy + 0.01,
    }


LAW = [row(share, 1000 * share, 2.0 * (1000 * share) ** -0.5) for share in data_curve.SHARES]


def test_the_law_behind_the_errors_is_found():
    level, slope = data_curve.power_law(LAW)
    assert (level, slope) == (pytest.approx(2.0, rel=1e-3), pytest.approx(0.5, rel=1e-3))


def test_the_estimate_follows_the_law_and_has_an_interval():
    said = data_curve.estimate(LAW, by_people=True, computed_voices=0)
    assert said.startswith(
        "1000 training clips of each class give 93.7% on the validation clips (91.7% to 94.7%); "
        "2 times as many (2000) about 95.5% ("
    )
    assert "4 times as many (4000) about 96.8% (" in said
    assert "Drawn were people: the curve goes from 20 to 400 of them, and the new clips would be of new people." in said


def test_where_clips_are_drawn_it_is_said_that_nothing_shows_what_new_people_bring():
    """E11: it said "the new clips are of new speakers", while all speakers were in the smaller sets already."""
    said = data_curve.estimate(LAW, by_people=False, computed_voices=0)
    assert "Drawn were clips" in said
    assert "does not show what new people bring" in said
    assert "would be of new people" not in said


def test_computed_voices_in_training_are_told_beside_the_curve():
    assert "computed voices" not in data_curve.estimate(LAW, by_people=True, computed_voices=0)
    assert "Beside these clips, 60 computed voices speak in each training. Their clips are neither counted nor" in (
        data_curve.estimate(LAW, by_people=True, computed_voices=60)
    )


def test_an_estimate_is_the_less_certain_the_farther_it_reaches_and_the_wider_the_points_are():
    near, far = data_curve.foreseen(LAW, [1000, 16_000])
    law = 1 - 2.0 * np.array([1000, 16_000]) ** -0.5
    assert near.low < law[0] < near.high
    assert far.low < law[1] < far.high
    errors = [np.log((1 - one.low) / (1 - one.high)) for one in (near, far)]
    assert errors[1] > 1.5 * errors[0]
    wide = [point | {"accuracy_low": point["accuracy"] - 0.08} for point in LAW]
    assert data_curve.foreseen(wide, [16_000])[0].low < far.low - 0.01
    assert data_curve.foreseen(LAW, [16_000]) == [far]  # the draws are the same each time


def test_where_more_clips_brought_nothing_none_is_promised():
    flat = [row(share, 1000 * share, 0.1) for share in data_curve.SHARES[:-1]] + [row(1.0, 1000, 0.2)]
    assert "brought nothing" in data_curve.estimate(flat, by_people=True, computed_voices=0)


def test_of_very_few_clips_there_is_no_curve():
    few = [row(share, 1, 0.5) for share in data_curve.SHARES]
    assert data_curve.power_law(few) == (0.5, 0.0)
    assert data_curve.estimate(few, by_people=True, computed_voices=0) == (
        "1 training clips of each class are too few for a curve: all shares of them are the same."
    )


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project in which `dvc exp run` does nothing but write what the pipeline would."""
    monkeypatch.chdir(tmp_path)
    for folder in ("presets", "metrics", "data/features"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "presets" / "fast.yaml").write_text("width: 2.0\n")
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)

    def pretend(command, *, check):
        assert check
        assert command[-1] == "evaluate"
        share = float(command[-2].removeprefix("train_share="))
        own = next(row for row in LAW if row["share"] == share)
        right = np.arange(1100) < round(1000 * own["accuracy"])
        write_answers(
            tmp_path / "data" / "validation.npz",
            Answers(
                # the last 100 clips, all wrong, are of computed voices, which are not counted
                names=np.array([f"{'_computed_/' if n >= 1000 else ''}{n}" for n in range(1100)]),
                speakers=np.array([f"voice{n % 100}" for n in range(1100)]),
                labels=np.zeros(1100, int),
                probabilities=np.eye(2, dtype=np.float32)[np.where(right, 0, 1)],
                embeddings=np.zeros((1000, 3), np.float32),
            ),
            ["no", "yes"],
            synthetic=False,
        )
        write_json(tmp_path / "data" / "features" / "spec.json", make_spec().to_json())
        clips = [
            (f"{word}/{number}", word, f"voice{number // 5}", "train", "ok")
            for word in ("no", "yes", UNKNOWN)
            for number in range(round(own["clips_a_class"]))
        ]
        clips += [("1", "no", "zoe", "test", "ok"), ("2", "yes", "zoe", "train", "set aside")]
        clips += [("_computed_/no", "no", "computed-train-0000", "train", "ok")] * 100
        columns = ("name", "class", "speaker", "split", "status")
        rows = [dict(zip(columns, clip, strict=True)) for clip in clips]
        write_csv(tmp_path / "data" / "features" / "manifest.csv", rows, columns)
        (tmp_path / "params.yaml").write_text(before.replace("train_share: 1.0 ", f"train_share: {share} "))

    monkeypatch.setattr(subprocess, "run", pretend)
    return tmp_path


def test_an_experiment_for_each_share_gives_the_curve_and_the_estimate(project, monkeypatch, capsys):
    """E10: without any figure of the test; metrics/evaluate.json is not even there."""
    monkeypatch.setattr(sys, "argv", ["data_curve", "fast", "seed=2"])
    data_curve.main()
    printed = capsys.readouterr().out
    assert printed.count("dvc exp run -S width=2.0 -S seed=2 -S train_share=") == len(data_curve.SHARES)
    assert "1000 training clips of each class give 93.7% on the validation clips (" in printed
    assert "the curve goes from 10 to 200 of them" in printed
    folder = project / "plots" / "curve"
    header, first, *_ = (folder / "curve.csv").read_text().splitlines()
    assert header == "share,people,clips_a_class,accuracy,accuracy_low,accuracy_high"
    assert first.startswith("0.05,10,50,0.717,0.6")
    assert (folder / "curve.png").stat().st_size > 10_000
    assert (folder / "estimate.txt").read_text() in printed


def test_a_run_that_fails_ends_the_curve_with_its_exit_code(project, monkeypatch):
    def fail(command, *, check):  # noqa: ARG001
        (project / "params.yaml").write_text("train_share: 0.05\n")
        raise subprocess.CalledProcessError(255, command)

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["data_curve", "fast", ""])
    with pytest.raises(SystemExit) as ended:
        data_curve.main()
    assert ended.value.code == 255
    assert (project / "params.yaml").read_text() == (
        ROOT / "params.yaml"
    ).read_text()  # nobody trains on a share unknowingly
    assert not (project / "plots" / "curve").exists()
