"""make few: draws of takes, the rules of rejection, intervals over draws and people, the table."""

import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pytest

from kws.commands import few as command
from kws.evaluate import few
from kws.evaluate.few import Asked
from kws.recordings.clips import HOUSEHOLD
from kws.train.head import Embedded

WORDS = ("left", "right", "up")


def asked(own: list[float], others: list[float], people: int = 4) -> Asked:
    return Asked(
        people=np.array([f"person{number % people}" for number in range(len(own))]),
        correct=np.array(own) > 0.5,
        scores={"logit": np.array(own), "distance": np.array(own)},
        other_people=np.array([f"other{number % people}" for number in range(len(others))]),
        other_scores={"logit": np.array(others), "distance": np.array(others) + 1},
    )


def test_takes_of_a_word_are_of_different_people_and_more_takes_hold_the_fewer():
    rng = np.random.default_rng(0)
    labels, people = rng.integers(3, size=300), np.array([f"p{n}" for n in rng.integers(20, size=300)])
    takes = few.draw_takes(labels, people, 5, np.random.default_rng(1))
    assert takes.shape == (3, 5)
    for word, some in enumerate(takes):
        assert set(labels[some]) == {word}
        assert len(set(people[some])) == 5
    np.testing.assert_array_equal(few.draw_takes(labels, people, 3, np.random.default_rng(1)), takes[:, :3])
    assert not np.array_equal(few.draw_takes(labels, people, 5, np.random.default_rng(2)), takes)
    # one lot for all words: about five people say all takes, not fifteen
    assert len(set(people[takes.ravel()])) < 8


def test_there_are_as_many_takes_as_people_say_the_rarest_word():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    people = np.array(["a", "b", "c", "a", "a", "b", "b"])
    assert few.draw_takes(labels, people, 5, np.random.default_rng(0)).shape == (2, 2)


def test_a_clip_far_from_all_words_has_a_low_score_by_distance():
    heard, labels = np.array([[4.0, 0, 0], [2, 0, 0], [0, 3, 0]]), np.array([0, 0, 1])
    clips = np.array([[1.0, 0, 0], [0, 10, 0], [0, 0, 5], [5, 5, 0]])
    logits = np.array([[1.0, 3, 0], [2, 0, 0], [-1, -2, 9], [0, 0, 0]])  # the third class is of other words
    means = few.word_means(heard, labels, np.ones(3))
    scores = few.word_scores(clips, logits, np.array([True, True, False]), means)
    np.testing.assert_array_equal(scores["logit"], [3, 2, -1, 0])
    np.testing.assert_allclose(scores["distance"], [1, 1, 0, np.sqrt(0.5)], atol=1e-6)
    assert np.argmin(scores["probability"]) == 2
    np.testing.assert_allclose(scores["probability"][3], 1 / 3)


def test_rejection_is_counted_where_a_twentieth_of_the_words_is_rejected():
    own = [0.0] + [1.0] * 19  # one of twenty may be rejected
    share, interval = few.rejection([asked(own, [0.5, 0.9, 1.0, 1.5])], "logit")
    assert share == 0.5
    assert interval.low <= 0.5 <= interval.high
    assert few.rejection([asked([0.0, 0.0, *own], [0.5, 0.9, 1.0, 1.5])], "logit")[0] == 0.0


def test_accuracy_is_the_mean_over_draws_and_its_interval_knows_both_people_and_draws():
    steady = [asked([1, 0] * 40, [0.0], people=40) for _ in range(10)]
    share, interval = few.accuracy(steady)
    assert share == 0.5
    by_person = [asked(([1] * 5 + [0] * 5) * 8, [0.0], people=10) for _ in range(10)]  # person 0 is always understood
    wide = few.accuracy(by_person)[1]
    assert wide.high - wide.low > 1.8 * (interval.high - interval.low)
    assert one_draw_is_as_wide(by_person, wide)
    by_draw = [asked([draw % 2] * 80, [0.0], people=40) for draw in range(10)]
    share, between = few.accuracy(by_draw)
    assert share == 0.5
    assert between.high - between.low > 0.4
    assert few.accuracy(by_draw)[1] == between  # the same each time


def one_draw_is_as_wide(draws, wide) -> bool:
    """Ten equal draws tell no more of other people than one of them."""
    single = few.accuracy(draws[:1])[1]
    return abs((single.high - single.low) / (wide.high - wide.low) - 1) < 0.15


def test_the_rule_that_rejects_most_is_chosen():
    draws = [asked([0.4] + [1.0] * 19, [0.5, 0.9])] * 2  # by distance the other words are as near as the words
    assert few.best_rule(draws) == "logit"


def clips(people: int, *, computed: bool = False, heard: Iterable[str] = (), others: bool = False) -> command.Clips:
    """Three words in three directions, by so many people, two clips each; other words in a fourth direction."""
    rng = np.random.default_rng(0)
    rows = [
        (f"{split}/{person}/{word}/{take}", f"{split}{person}", word, split, WORDS[word], False)
        for split, number in (("train", people), ("validation", 3), ("test", 3))
        for person in range(number)
        for word in range(3)
        for take in range(2)
    ]
    rows += [
        (f"{split}/{word}/{number}", f"{split}{number}", 0, split, word, False)
        for split, word in (("unheard_validation", "dog"), ("unheard_test", "cat"))
        for number in range(6)
    ]
    if computed:
        rows += [(f"_computed_/{w}/{n}", f"voice{n}", w, "train", WORDS[w], True) for w in range(3) for n in range(4)]
    if others:
        rows += [(f"_computed_/cap/{n}", f"voice{n}", 3, "train", "cap", True) for n in range(4)]
    names, speakers, labels, splits, spoken, made = (np.array(column) for column in zip(*rows, strict=True))
    middles = np.eye(4)[np.where(np.isin(spoken, WORDS), labels, 3)]
    embeddings = (3 * middles + np.abs(rng.normal(scale=0.1, size=middles.shape))).astype(np.float32)
    everything = Embedded(names, speakers, labels, embeddings)
    return command.Clips(
        words=list(WORDS),
        start="kws.npz",
        all=everything,
        copies=everything.subset(np.isin(splits, ("train", "test"))),
        copied=("train", "test"),
        splits=splits,
        spoken=spoken,
        computed=made,
        unheard_computed=False,
        heard=frozenset(heard),
        told=True,
    )


def test_takes_are_asked_of_everybody_else_and_validation_only_chooses():
    some = clips(people=6)
    takes = command._takes(some, np.random.default_rng(0))
    draw = command._ask(some, takes[:, :3], command.NOTHING)
    takers = set(some.all.people[takes[:, :3].ravel()])
    assert not takers & set(draw.asked.people)
    assert takers | set(draw.asked.people) == {f"train{n}" for n in range(6)} | {f"test{n}" for n in range(3)}
    assert set(draw.choosing.people) == {f"validation{n}" for n in range(3)}
    assert {name.rstrip("0123456789") for name in draw.asked.other_people} == {"unheard_test"}
    assert {name.rstrip("0123456789") for name in draw.choosing.other_people} == {"unheard_validation"}
    assert draw.asked.correct.all()


def test_people_whom_the_embedding_or_the_house_has_heard_are_not_asked():
    some = clips(people=6, heard=("train0", "train1", "test0"))
    takes = command._takes(some, np.random.default_rng(0))
    draw = command._ask(some, takes[:, :1], command.NOTHING)
    takers = set(some.all.people[takes[:, :1].ravel()])
    everybody = {f"train{n}" for n in range(6)} | {f"test{n}" for n in range(3)}
    assert set(draw.asked.people) == everybody - takers - {"train0", "train1", "test0"}
    assert set(draw.everybody.people) == everybody - takers
    rows = command.rows_of(some, command.NOTHING)
    assert [(row["people"], row["everybody_people"]) for row in rows] == [(5, 8), (4, 6), (3, 4)]
    said = command.report(rows, some)
    assert "Not asked: 3 people whom kws.npz has heard." in said
    assert said.splitlines()[0].endswith("  accuracy of")
    assert "The last column asks them, too: its figures may be too good." in said
    assert "kws listen --keep" not in said
    some.all.people[some.all.people == "train2"] = HOUSEHOLD
    assert "Not asked either: what kws listen --keep has heard." in command.report(rows, some)
    for seed in range(9):
        takes = command._takes(some, np.random.default_rng(seed))
        assert HOUSEHOLD not in command._ask(some, takes[:, :1], command.NOTHING).everybody.people
    takers = {
        some.all.people[command._takes(some, np.random.default_rng(seed))].ravel().tolist()[0] for seed in range(9)
    }
    assert HOUSEHOLD not in takers


def test_rows_go_as_far_as_there_are_people():
    rows = command.rows_of(clips(people=5), command.NOTHING)
    assert [(row["voices_say"], row["takes"], row["draws"]) for row in rows] == [
        ("nothing", number, 10) for number in (1, 3, 5)
    ]
    for row in rows:
        assert row["accuracy"] == row["accuracy_high"] == 1
        assert row["rejection"] > 0.9
        assert row["people"] == row["everybody_people"] == 8 - row["takes"]
    said = command.report(rows, clips(people=5))
    assert "Not there: 10, 30 takes a word, since too few people say each word." in said
    head, more, *lines = said.splitlines()
    assert head.startswith("takes   computed    accuracy                 other words ")
    assert more.startswith("a word  voices say                           rejected")
    assert lines[2].startswith("5       nothing     100.0% [100.0%, 100.0%]  ")
    assert "everybody" not in more  # kws.npz has heard none of them


def test_with_computed_voices_there_are_figures_without_any_take():
    some = clips(people=5, computed=True)
    rows = command.rows_of(some, command.WORDS)
    assert [row["takes"] for row in rows] == [0, 1, 3, 5]
    assert rows[0]["accuracy"] == 1
    assert rows[0]["people"] == 8  # no computed voice is asked
    heard = command.rows_of(some, command.NOTHING)
    assert [row["takes"] for row in heard] == [1, 3, 5]


def test_voices_that_say_other_words_are_asked_of_the_same_clips():
    some = clips(people=5, computed=True, others=True)
    some.spoken[some.spoken == "dog"] = np.where(np.arange((some.spoken == "dog").sum()) % 2, "cap", "dog")
    takes = command._takes(some, np.random.default_rng(0))[:, :3]
    without, beside = (command._ask(some, takes, what) for what in (command.WORDS, command.WORDS_AND_OTHERS))
    for what in ("choosing", "asked", "everybody"):
        np.testing.assert_array_equal(getattr(without, what).people, getattr(beside, what).people)
        np.testing.assert_array_equal(getattr(without, what).other_people, getattr(beside, what).other_people)
    assert len(without.choosing.other_people) == 3  # of six: voices say the word of the others
    logit = "logit"  # other words have a class of their own now, and sound less like one of the words
    assert beside.asked.other_scores[logit].mean() < without.asked.other_scores[logit].mean()


def test_the_command_runs_the_experiment_and_writes_table_and_picture(tmp_path, monkeypatch, capsys, write_params):
    monkeypatch.chdir(tmp_path)
    write_params()
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "best.yaml").write_text("width: 1.5\n")
    ran = []

    def pretend(words, *, check):  # noqa: ARG001
        ran.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(command, "embed", lambda _: clips(people=5, computed=True, others=True))
    monkeypatch.setattr(sys, "argv", ["few", "best", "dataset=recordings"])
    command.main()
    assert ran == [["dvc", "exp", "run", "-S", "width=1.5", "-S", "dataset=recordings", "featurize"]]
    folder = tmp_path / "plots" / "few"
    header, *rows = (folder / "few.csv").read_text().splitlines()
    assert header.startswith("voices_say,takes,draws,rule,validation_accuracy,validation_rejection,accuracy,")
    told = {what: [row.split(",")[1] for row in rows if row.startswith(f"{what},")] for what in ("nothing", "words")}
    assert told == {"nothing": ["1", "3", "5"], "words": ["0", "1", "3", "5"]}
    assert [row.split(",")[1] for row in rows if row.startswith("words and others,")] == ["0", "1", "3", "5"]
    assert (folder / "few.png").stat().st_size > 10_000
    assert (folder / "few.txt").read_text() in capsys.readouterr().out


def test_a_run_that_fails_ends_the_command_with_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "best.yaml").write_text("width: 1.5\n")
    monkeypatch.setattr(subprocess, "run", lambda words, *, check: subprocess.CompletedProcess(words, 255))  # noqa: ARG005
    monkeypatch.setattr(sys, "argv", ["few", "best", ""])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 255
    assert not (tmp_path / "plots").exists()
