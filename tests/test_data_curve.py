import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_spec

from kws.commands import data_curve
from kws.core.files import write_csv, write_json
from kws.core.params import UNKNOWN


def row(share: float, clips: float, error: float) -> dict[str, float]:
    accuracy = round(1 - error, 6)
    return {
        "share": share,
        "clips_a_class": clips,
        "accuracy": accuracy,
        "accuracy_low": accuracy,
        "accuracy_high": 1.0,
    }


LAW = [row(share, 1000 * share, 2.0 * (1000 * share) ** -0.5) for share in data_curve.SHARES]


def test_the_law_behind_the_errors_is_found():
    level, slope = data_curve.power_law(LAW)
    assert (level, slope) == (pytest.approx(2.0, rel=1e-3), pytest.approx(0.5, rel=1e-3))


def test_the_estimate_follows_the_law():
    assert data_curve.estimate(LAW).startswith(
        "1000 training clips of each class give 93.7%; 2 times as many (2000) about 95.5%, "
        "4 times as many (4000) about 96.8%"
    )


def test_where_more_clips_brought_nothing_none_is_promised():
    flat = [row(share, 1000 * share, 0.1) for share in data_curve.SHARES[:-1]] + [row(1.0, 1000, 0.2)]
    assert "brought nothing" in data_curve.estimate(flat)


def test_of_very_few_clips_there_is_no_curve():
    few = [row(share, 1, 0.5) for share in data_curve.SHARES]
    assert data_curve.power_law(few) == (0.5, 0.0)
    assert data_curve.estimate(few) == (
        "1 training clips of each class are too few for a curve: all shares of them are the same."
    )


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project in which `dvc exp run` does nothing but write what the pipeline would."""
    monkeypatch.chdir(tmp_path)
    for folder in ("presets", "metrics", "data/features"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "presets" / "fast.yaml").write_text("width: 2.0\n")
    (tmp_path / "params.yaml").write_text("train_share: 1.0\n")

    def pretend(command, *, check):
        assert check
        assert command[-1] == "evaluate"
        share = float(command[-2].removeprefix("train_share="))
        own = next(row for row in LAW if row["share"] == share)
        (tmp_path / "metrics" / "evaluate.json").write_text(json.dumps(own))
        write_json(tmp_path / "data" / "features" / "spec.json", make_spec().to_json())
        clips = [(word, "train", "ok") for word in ("no", "yes", UNKNOWN) for _ in range(round(own["clips_a_class"]))]
        clips += [("no", "test", "ok"), ("yes", "train", "set aside")]
        write_csv(
            tmp_path / "data" / "features" / "manifest.csv",
            [dict(zip(("class", "split", "status"), clip, strict=True)) for clip in clips],
            ("class", "split", "status"),
        )
        (tmp_path / "params.yaml").write_text(f"train_share: {share}\n")

    monkeypatch.setattr(subprocess, "run", pretend)
    return tmp_path


def test_an_experiment_for_each_share_gives_the_curve_and_the_estimate(project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["data_curve", "fast", "seed=2"])
    data_curve.main()
    printed = capsys.readouterr().out
    assert printed.count("dvc exp run -S width=2.0 -S seed=2 -S train_share=") == len(data_curve.SHARES)
    assert "1000 training clips of each class give 93.7%" in printed
    folder = project / "plots" / "curve"
    assert (folder / "curve.csv").read_text().splitlines()[1] == "0.05,50,0.717157,0.717157,1.0"
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
    assert (project / "params.yaml").read_text() == "train_share: 1.0\n"  # nobody trains on a share unknowingly
    assert not (project / "plots" / "curve").exists()
