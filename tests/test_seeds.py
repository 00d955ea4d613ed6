import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from kws.commands import seeds
from kws.core import paths
from kws.evaluate.answers import Answers, write_answers
from kws.evaluate.metrics import share_interval
from kws.evaluate.stream import StreamOutcome, write_stream

SHARES = (0.90, 0.96, 0.93)  # of the test clips that each seed gets right
PEOPLE = np.array([f"voice{n % 100}" for n in range(1000)])


def answers(share: float) -> Answers:
    """Answers to 1,000 clips of 100 people, of which this share is right."""
    right = np.arange(1000) < round(1000 * share)
    return Answers(
        names=np.arange(1000).astype(str),
        speakers=PEOPLE,
        labels=np.zeros(1000, int),
        probabilities=np.eye(2, dtype=np.float32)[np.where(right, 0, 1)],
        embeddings=np.zeros((1000, 3), np.float32),
    )


def stream(alarms: int, *, words: bool = True) -> StreamOutcome:
    """Two hours: 300 of 1,000 words are missed, and there are so many false alarms, each of its own source."""
    said = slice(None if words else 0)
    return StreamOutcome(
        hours=2.0,
        missed=(np.arange(1000) < 300)[said],
        taken_for_another=np.zeros(1000, bool)[said],
        delays=np.zeros(1000)[said],
        speakers=PEOPLE[said],
        clips=np.arange(1000).astype(str)[said],
        kinds=np.array(["speech"] * alarms),
        sources=np.array([f"{n}" for n in range(alarms)]),
        speech_hours=0.5,
    )


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project in which `dvc exp run` does nothing but write what the pipeline would."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "fast.yaml").write_text("width: 2.0\n")
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)

    def pretend(command, *, check):
        assert check
        assert command[-1] == "evaluate"
        seed = int(command[-2].removeprefix("seed="))
        write_answers(paths.VALIDATION, answers(0.95), ["no", "yes"], synthetic=False)
        write_answers(paths.ANSWERS, answers(SHARES[seed - 1]), ["no", "yes"], synthetic=False)
        write_stream(paths.STREAM, stream(seed))
        (tmp_path / "params.yaml").write_text(before.replace("seed: 1 ", f"seed: {seed} "))

    monkeypatch.setattr(subprocess, "run", pretend)
    return tmp_path


def test_an_experiment_for_each_seed_gives_the_table_and_the_picture(project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["seeds", "fast", "dataset=recordings", "3"])
    before = (project / "params.yaml").read_text()
    seeds.main()
    printed = capsys.readouterr().out
    for seed in (1, 2, 3):
        assert f"dvc exp run -S width=2.0 -S dataset=recordings -S seed={seed} evaluate" in printed
    table = [line.split() for line in printed.splitlines() if line[:4].strip() in ("1", "2", "3", "mean")]
    assert table == [
        ["1", "95.0%", "90.0%", "30.0%", "0.50"],
        ["2", "95.0%", "96.0%", "30.0%", "1.00"],
        ["3", "95.0%", "93.0%", "30.0%", "1.50"],
        ["mean", "95.0%", "93.0%", "30.0%", "1.00"],
    ]
    folder = project / "plots" / "seeds"
    assert (folder / "seeds.csv").read_text().startswith("seed,validation_accuracy,validation_accuracy_low,")
    assert (folder / "seeds.png").stat().st_size > 10_000
    assert (folder / "report.txt").read_text() in printed
    assert (project / "params.yaml").read_text() == before  # nobody goes on with the last seed unknowingly


@pytest.fixture
def results(project) -> list[seeds.SeedResult]:
    assert project.exists()
    found = []
    for seed in (1, 2, 3):
        subprocess.run(["dvc", f"seed={seed}", "evaluate"], check=True)
        found.append(seeds.read_result())
    return found


def test_the_interval_of_the_mean_holds_people_and_seeds(results):
    """E5: the mean of the seeds' intervals left the spread between seeds out."""
    *single, pooled = seeds.seed_rows(results)
    assert [row["seed"] for row in (*single, pooled)] == [1, 2, 3, "all"]
    assert (single[0]["accuracy_low"], single[0]["accuracy_high"]) == pytest.approx(
        share_interval(np.arange(1000) < 900, PEOPLE), abs=1e-6
    )
    old = np.mean([[row["accuracy_low"], row["accuracy_high"]] for row in single], axis=0)
    by_t = 4.303 * 0.03 / 3**0.5  # the t-interval over three seeds
    assert pooled["accuracy_low"] == pytest.approx(0.93 - by_t, abs=1e-4)
    assert pooled["accuracy_low"] < old[0] - 0.02
    assert pooled["accuracy_high"] == 1 > old[1]
    assert pooled["validation_accuracy_high"] - pooled["validation_accuracy_low"] < 0.05  # the seeds agree
    assert pooled["stream_false_alarms_an_hour"] == 1.0
    assert pooled["stream_false_alarms_an_hour_low"] == 0
    assert pooled["stream_false_alarms_an_hour_high"] > 1 + 4.302 * 0.5 / 3**0.5


def test_where_the_split_is_random_the_report_says_that_seeds_have_other_clips(results):
    """Each seed draws its own splits there: "all heard the same stream" would be false."""
    rows = seeds.seed_rows(results)
    told = "each seed has other clips in training, validation and test, and another stream"
    assert told in seeds.report(rows, at_random=True, computed="")
    assert told not in seeds.report(rows, at_random=False, computed="")


def test_computed_voices_are_the_same_for_every_seed_and_the_report_says_so(results):
    """They are drawn once, so that the spread between seeds does not hold them."""
    assert seeds.about_computed(results[0], 0) == ""
    told = seeds.about_computed(results[0], 60)
    assert "The 60 computed voices in training are the same for every seed: the intervals do not hold" in told
    assert "mix" not in told
    test = replace(results[0].test, names=np.char.add("_computed_/", results[0].test.names))
    mixed = seeds.about_computed(replace(results[0], test=test), 60)
    assert "0 of 1000 validation clips and 1000 of 1000 test clips: the figures mix them with people." in mixed
    assert mixed in seeds.report(seeds.seed_rows(results), at_random=False, computed=mixed)


def test_a_stream_without_words_has_false_alarms_alone(results):
    write_stream(paths.STREAM, stream(2, words=False))
    rows = seeds.seed_rows([*results, seeds.read_result()])
    assert "stream_missed" not in rows[-1]
    assert "missed words" not in seeds.report(rows, at_random=False, computed="")
    assert rows[-1]["stream_false_alarms_an_hour"] == 1.0


def test_a_seed_that_fails_ends_the_series_with_its_exit_code(project, monkeypatch):
    before = (project / "params.yaml").read_text()

    def fail(command, *, check):  # noqa: ARG001
        (project / "params.yaml").write_text("seed: 2\n")
        raise subprocess.CalledProcessError(255, command)

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["seeds", "fast", "", "3"])
    with pytest.raises(SystemExit) as ended:
        seeds.main()
    assert ended.value.code == 255
    assert (project / "params.yaml").read_text() == before
    assert not (project / "plots" / "seeds").exists()


@pytest.mark.parametrize(
    ("settings", "number", "message"),
    [
        ("", "1", "N=1: give the number of seeds, 2 to 99"),
        ("", "five", "N=five: give the number of seeds, 2 to 99"),
        ("seed=7", "3", "SET: make seeds sets the seed itself, from 1 to 3; leave it out"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_no_series_of_seeds_is_refused_in_a_line(monkeypatch, settings, number, message):
    monkeypatch.setattr(sys, "argv", ["seeds", "fast", settings, number])
    with pytest.raises(SystemExit, match=f"^error: {message}$"):
        seeds.main()
