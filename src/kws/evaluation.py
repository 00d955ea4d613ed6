"""What a trained network makes of the test clips, and how that is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kws import metrics
from kws.dataset import read_split
from kws.models import embedding_and_probabilities

BATCH = 256  # clips; memory, not results, depends on it
WORST = 100  # mistakes to list
CONFUSION_COLUMNS = ("actual", "predicted")
MISTAKE_COLUMNS = ("name", "speaker", "actual", "predicted", "confidence")
WORD_COLUMNS = ("word", "precision", "recall", "f1", "clips")


@dataclass(frozen=True)
class Answers:
    """The test clips and the network's answers, one entry a clip."""

    names: np.ndarray
    speakers: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    embeddings: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest word of each clip, as an index."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that word."""
        return self.probabilities.max(axis=1)


def answer_test_clips(model: keras.Model, features: Path, spec: dict[str, Any]) -> Answers:
    """Runs the network on every test clip, in the order of the records."""
    outputs = embedding_and_probabilities(model)
    batches = []
    for batch in read_split(features, "test", spec, BATCH).as_numpy_iterator():
        embedding, probability = outputs.predict_on_batch(batch["log_mel"])
        batches.append((batch["name"], batch["speaker"], batch["label"], probability, embedding))
    names, speakers, labels, probabilities, embeddings = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Answers(
        np.char.decode(names.astype(bytes)), np.char.decode(speakers.astype(bytes)), labels, probabilities, embeddings
    )


def score(answers: Answers, words: list[str], seed: int) -> dict[str, float]:
    """All figures of `metrics/evaluate.json`, rounded to 6 decimals."""
    correct = answers.predicted == answers.labels
    low, high = metrics.wilson_interval(int(correct.sum()), len(correct))
    speakers_low, speakers_high = metrics.speaker_interval(correct, answers.speakers, seed)
    figures: dict[str, float] = {
        "test_clips": len(correct),
        "accuracy": correct.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_speakers_low": speakers_low,
        "accuracy_speakers_high": speakers_high,
        "loss": metrics.cross_entropy(answers.probabilities, answers.labels),
    }
    by_word = metrics.word_scores(answers.labels, answers.predicted, len(words))
    for index, word in enumerate(words):
        figures |= {f"{name}_{word}": by_word[name][index] for name in ("precision", "recall", "f1")}
    return {name: value if isinstance(value, int) else round(float(value), 6) for name, value in figures.items()}


def confusion_rows(answers: Answers, words: list[str]) -> list[dict[str, Any]]:
    """One row a test clip: the word said, the word heard."""
    pairs = zip(answers.labels, answers.predicted, strict=True)
    return [{"actual": words[label], "predicted": words[guess]} for label, guess in pairs]


def worst_mistakes(answers: Answers, words: list[str]) -> list[dict[str, Any]]:
    """The wrong answers, the most confident first."""
    wrong = np.flatnonzero(answers.predicted != answers.labels)
    worst = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "name": answers.names[i],
            "speaker": answers.speakers[i],
            "actual": words[answers.labels[i]],
            "predicted": words[answers.predicted[i]],
            "confidence": round(float(answers.confidence[i]), 6),
        }
        for i in worst
    ]


def word_rows(answers: Answers, words: list[str]) -> list[dict[str, Any]]:
    """One row a word: precision, recall, F1, clips."""
    by_word = metrics.word_scores(answers.labels, answers.predicted, len(words))
    return [
        {"word": word} | {name: round(values[index].item(), 6) for name, values in by_word.items()}
        for index, word in enumerate(words)
    ]
