"""What a trained network makes of the test clips: its answers, their figures, and the lines that evaluate prints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kws.core.naming import SILENCE, UNKNOWN
from kws.evaluate import metrics
from kws.evaluate.answers import Answers
from kws.evaluate.metrics import Interval
from kws.evaluate.network import EvaluatedNetwork
from kws.recordings.background import is_nobody
from kws.recordings.clips import HOUSEHOLD
from kws.recordings.manifest import usable_rows
from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec

WORST = 100  # mistakes to list
CONFUSION_COLUMNS = ("actual", "predicted")
MISTAKE_COLUMNS = ("name", "speaker", "actual", "predicted", "confidence")
CALIBRATION_COLUMNS = ("confidence", "accuracy", "clips")
WORD_COLUMNS = ("word", "precision", "recall", "recall_low", "recall_high", "f1", "clips")


def answer_clips(
    network: EvaluatedNetwork, features: Path, split: str, spec: FeatureSpec, *, embedded: bool = False
) -> Answers:
    """Runs the network on every clip of a split, in the order of the records.

    Args:
        network: to ask.
        features: the folder of the records.
        split: whose clips are answered.
        spec: of the records.
        embedded: whether the embeddings are kept, too; they are the larger part of the answers.
    """
    names, speakers, labels = [], [], []

    def clips() -> Iterator[np.ndarray]:
        for clip in cached_clips(features, split, spec):
            names.append(clip.name)
            speakers.append(clip.speaker)
            labels.append(clip.label)
            yield clip.log_mel

    if embedded:
        embeddings, probabilities = network.answers(clips())
    else:
        probabilities = network.probabilities(clips())
        embeddings = np.empty((len(names), 0), np.float32)
    return Answers(np.array(names), np.array(speakers), np.array(labels), probabilities, embeddings)


def score(answers: Answers, words: list[str]) -> dict[str, float]:
    """All figures of `metrics/evaluate.json`, rounded to 6 decimals."""
    correct, spoken = answers.correct, _spoken(answers)
    rows = metrics.calibration(answers.confidence, correct)
    figures: dict[str, float] = {
        "test_clips": len(correct),
        **metrics.share_figures("accuracy", correct, answers.speakers),
        "calibration_error": metrics.calibration_error(rows),
        "loss": metrics.cross_entropy(answers.probabilities, answers.labels),
    }
    if spoken.any():  # a fold of a cross-validation may hold silence alone
        worst, best = metrics.speaker_spread(correct[spoken], answers.speakers[spoken])
        figures |= {"accuracy_worst_speakers": worst, "accuracy_best_speakers": best}
    # Silence has no signal-to-noise ratio: the sweep of noise is of the clips in which somebody speaks
    loud = answers.labels != words.index(SILENCE) if SILENCE in words else np.full(len(correct), True)
    figures |= metrics.share_figures("noise_clean_accuracy", correct[loud], answers.speakers[loud])
    for row in word_rows(answers, words):
        figures |= {f"{name}_{row['word']}": row[name] for name in ("precision", "recall", "f1") if row["clips"]}
        if row["word"] in (UNKNOWN, SILENCE) and row["clips"]:
            figures |= Interval(row["recall_low"], row["recall_high"]).figures(f"recall_{row['word']}")
    return metrics.rounded(figures)


def rejection(unheard: Answers, classes: list[str]) -> dict[str, float]:
    """How many clips of words that the network has never heard it takes for no word of ours."""
    rejected = np.isin(unheard.predicted, [classes.index(name) for name in (UNKNOWN, SILENCE) if name in classes])
    return metrics.rounded(
        {
            "unheard_clips": len(rejected),
            **metrics.share_figures("unheard_rejected", rejected, unheard.speakers),
        }
    )


def by_voices(answers: Answers) -> dict[str, float]:
    """Accuracy on the recordings of people and on the clips of computed voices apart; empty if these say none."""
    computed = answers.computed
    if not computed.any():
        return {}
    figures: dict[str, float] = {}
    for voices, those in (("people", ~computed & _spoken(answers)), ("computed_voices", computed)):
        figures[f"{voices}_clips"] = int(those.sum())
        if those.any():
            name = f"{voices}_accuracy"
            figures |= metrics.share_figures(name, answers.correct[those], answers.speakers[those])
    return metrics.rounded(figures)


def leak(answers: Answers, train_speakers: set[str], *, at_random: bool) -> dict[str, float]:
    """Accuracy on the recordings for the test whose speakers are not in training, and how many these are.

    Empty if nobody in the test is in training, unless the split is by clip, at random: then names may hide that.
    """
    if not at_random and train_speakers.isdisjoint(answers.speakers):
        return {}
    heard = np.isin(answers.speakers, sorted(train_speakers))
    new = answers.subset(np.flatnonzero(~heard & ~answers.computed & _spoken(answers)))
    figures: dict[str, float] = {"leaking": 1, "new_speakers_clips": len(new.names)}
    if len(new.names):
        figures |= metrics.share_figures("new_speakers_accuracy", new.correct, new.speakers)
    return metrics.rounded(figures)


def _spoken(answers: Answers) -> np.ndarray:
    """Whether somebody speaks in each clip, bool (clips,): silence that kws makes is nobody's."""
    return np.array([not is_nobody(speaker) for speaker in answers.speakers], bool)


def heard(manifest: Path) -> dict[str, float]:
    """How many training clips are what `kws listen --keep` has heard, and how many of these are of other words.

    Nobody knows who speaks in them, nor which other words. Empty if there are none.

    Args:
        manifest: of the features.
    """
    classes = [row["class"] for row in usable_rows(manifest, "train") if row["speaker"] == HOUSEHOLD]
    return {"heard_clips": len(classes), "heard_unknown_clips": classes.count(UNKNOWN)} if classes else {}


def summary_lines(scores: dict[str, float], classes: list[str]) -> list[str]:
    """What the stage prints: the figures that people ask for, a line each."""

    def share(name: str) -> str:
        return f"{scores[name]:.1%}, 95 % interval {scores[f'{name}_low']:.1%} to {scores[f'{name}_high']:.1%}"

    lines = [f"test accuracy {share('accuracy')}, {scores['test_clips']} clips"]
    if "computed_voices_clips" in scores:
        people = f": {share('people_accuracy')}" if "people_accuracy" in scores else ""
        lines.append(
            f"computed voices say {scores['computed_voices_clips']} of these clips, where nobody recorded the word, "
            f"and people {scores['people_clips']}{people}; every figure of all test clips mixes both"
        )
    if "leaking" in scores:
        lines.append("all figures are too good for new people: the split leaks (the same voices in training and test)")
    if "heard_clips" in scores:
        lines.append(
            f"{scores['heard_clips']} training clips are what kws listen --keep has heard: if people of the test speak "
            "in them, all figures are too good for new people"
        )
    lines += [
        f"recall of {name} {share(f'recall_{name}')}" for name in (UNKNOWN, SILENCE) if f"recall_{name}" in scores
    ]
    if "unheard_clips" in scores:
        line = f"rejected of {scores['unheard_clips']} clips of words never heard: {share('unheard_rejected')}"
        if scores.get("heard_unknown_clips"):
            line += (
                f"; some of these words may be in the {scores['heard_unknown_clips']} training clips of other words "
                "that kws listen --keep has heard"
            )
        lines.append(line)
    if UNKNOWN in classes and not scores.keys() & {f"recall_{UNKNOWN}", "unheard_clips"}:
        lines.append("not tested: whether other words are rejected, since the test clips hold none")
    lines.append(f"in background not heard in training, as loud as the words (0 dB): {share('noise_0db_accuracy')}")
    return lines


def calibration_rows(answers: Answers) -> list[dict[str, Any]]:
    """Confidence and accuracy of the answers, by confidence."""
    rows = metrics.calibration(answers.confidence, answers.correct)
    return [metrics.rounded(row) for row in rows]


def confusion_rows(answers: Answers, words: list[str]) -> Iterator[dict[str, str]]:
    """One row a test clip, in turn: the word said, the word answered."""
    for label, guess in zip(answers.labels, answers.predicted, strict=True):
        yield {"actual": words[label], "predicted": words[guess]}


def worst_mistakes(answers: Answers, words: list[str]) -> list[dict[str, Any]]:
    """The wrong answers, the most confident first."""
    predicted, confidence = answers.predicted, answers.confidence  # once: they are computed anew each time
    wrong = np.flatnonzero(predicted != answers.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "name": answers.names[i],
            "speaker": answers.speakers[i],
            "actual": words[answers.labels[i]],
            "predicted": words[predicted[i]],
            "confidence": round(float(confidence[i]), 6),
        }
        for i in worst
    ]


def word_rows(answers: Answers, words: list[str]) -> list[dict[str, Any]]:
    """One row a word: precision, recall and its interval, F1, clips."""
    correct = answers.correct  # once: it is computed anew each time
    by_word = metrics.word_scores(answers.labels, answers.predicted, len(words))
    rows = []
    for index, word in enumerate(words):
        row = {name: values[index].item() for name, values in by_word.items()}
        said = answers.labels == index
        interval = metrics.share_interval(correct[said], answers.speakers[said])
        rows.append({"word": word} | metrics.rounded(row | interval.figures("recall")))
    return rows
