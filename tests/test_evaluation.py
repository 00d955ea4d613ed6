import json

import numpy as np
import pytest

from kws import evaluation, models
from kws.dataset import RecordWriter
from kws.evaluation import Answers

WORDS = ["no", "yes"]
SPEC = {"frames": 20, "mel_bins": 16, "clips": {"train": 1, "validation": 1, "test": 5}}


@pytest.fixture
def answers() -> Answers:
    return Answers(
        names=np.array(["a.wav", "b.wav", "c.wav", "d.wav"]),
        speakers=np.array(["ada", "ada", "bob", "bob"]),
        labels=np.array([0, 0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]], np.float32),
        embeddings=np.zeros((4, 128), np.float32),
    )


def test_every_test_clip_is_answered_with_its_own_name_and_label(tmp_path):
    rng = np.random.default_rng(0)
    clips = {f"{index}.wav": rng.normal(size=(20, 16)).astype(np.float32) for index in range(5)}
    with RecordWriter(tmp_path, SPEC["clips"]) as records:
        for index, (name, log_mel) in enumerate(clips.items()):
            records.write("test", name, f"voice{index}", index % 2, log_mel)
    model = models.cnn(20, 16, 2)
    answers = evaluation.answer_test_clips(model, tmp_path, SPEC)
    assert answers.names.tolist() == list(clips)
    assert answers.speakers.tolist() == [f"voice{index}" for index in range(5)]
    assert answers.labels.tolist() == [0, 1, 0, 1, 0]
    logits = model.predict_on_batch(np.stack(list(clips.values()))[..., None])
    assert answers.predicted.tolist() == logits.argmax(axis=1).tolist()
    assert answers.embeddings.shape == (5, 128)


def test_the_figures_of_a_case_done_by_hand(answers):
    figures = evaluation.score(answers, WORDS, seed=1)
    assert figures["test_clips"] == 4
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_low"] < 0.5 < figures["accuracy_high"]
    assert figures["accuracy_speakers_low"] == figures["accuracy_speakers_high"] == 0.5  # one right, one wrong each
    assert figures["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.2, 0.7]).mean(), abs=1e-6)
    assert (figures["precision_yes"], figures["recall_yes"], figures["f1_yes"]) == (0.5, 0.5, 0.5)
    assert json.loads(json.dumps(figures)) == figures


def test_the_most_confident_mistakes_come_first_with_clip_and_speaker(answers):
    assert evaluation.worst_mistakes(answers, WORDS) == [
        {"name": "c.wav", "speaker": "bob", "actual": "yes", "predicted": "no", "confidence": 0.8},
        {"name": "b.wav", "speaker": "ada", "actual": "no", "predicted": "yes", "confidence": 0.6},
    ]


def test_confusion_has_a_row_a_clip_and_words_a_row_a_word(answers):
    assert evaluation.confusion_rows(answers, WORDS)[1] == {"actual": "no", "predicted": "yes"}
    assert evaluation.word_rows(answers, WORDS)[0] == {
        "word": "no", "precision": 0.5, "recall": 0.5, "f1": 0.5, "clips": 2,
    }  # fmt: skip
