import json

import numpy as np
import pytest

from kws.evaluate import scores
from kws.evaluate.answers import Answers
from kws.evaluate.stream import Heard
from kws.records.write import RecordWriter
from kws.train.networks import NETWORKS

WORDS = ["no", "yes"]
SPEC = {
    "frames": 20,
    "margin": 2,
    "mel_bins": 16,
    "log_offset": 1e-6,
    "clips": {"train": 1, "validation": 1, "test": 5},
}


@pytest.fixture
def answers() -> Answers:
    return Answers(
        names=np.array(["a.wav", "b.wav", "c.wav", "d.wav"]),
        speakers=np.array(["ada", "ada", "bob", "bob"]),
        labels=np.array([0, 0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]], np.float32),
        embeddings=np.zeros((4, 128), np.float32),
    )


def test_every_clip_is_answered_with_its_own_name_and_label(tmp_path):
    rng = np.random.default_rng(0)
    clips = {f"{index}.wav": rng.uniform(size=(24, 16)).astype(np.float32) for index in range(5)}
    with RecordWriter(tmp_path, SPEC["clips"]) as records:
        for index, (name, power) in enumerate(clips.items()):
            records.write("test", name, f"voice{index}", index % 2, power)
    model = NETWORKS["cnn"](20, 16, 2, 1.0)
    answers = scores.answer_clips(model, tmp_path, "test", SPEC)
    assert answers.names.tolist() == list(clips)
    assert answers.speakers.tolist() == [f"voice{index}" for index in range(5)]
    assert answers.labels.tolist() == [0, 1, 0, 1, 0]
    log_mel = np.log(np.stack(list(clips.values()))[:, 2:22, :, None] + 1e-6)
    assert answers.predicted.tolist() == model.predict_on_batch(log_mel).argmax(axis=1).tolist()
    assert answers.embeddings.shape == (5, 128)
    np.testing.assert_allclose(scores.predictor(model)(log_mel), answers.probabilities, atol=1e-5)


def test_any_number_of_clips_is_predicted_in_batches(monkeypatch):
    monkeypatch.setattr(scores, "BATCH", 2)
    clips = np.random.default_rng(0).normal(size=(5, 20, 16, 1)).astype(np.float32)
    model = NETWORKS["cnn"](20, 16, 2, 1.0)
    probabilities = scores.predictor(model)(clips)
    assert probabilities.shape == (5, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == model.predict_on_batch(clips).argmax(axis=1).tolist()


def test_the_figures_of_a_case_done_by_hand(answers):
    figures = scores.score(answers, WORDS, seed=1)
    assert figures["test_clips"] == 4
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_low"] < 0.5 < figures["accuracy_high"]
    assert figures["accuracy_speakers_low"] == figures["accuracy_speakers_high"] == 0.5  # one right, one wrong each
    assert figures["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.2, 0.7]).mean(), abs=1e-6)
    assert (figures["precision_yes"], figures["recall_yes"], figures["f1_yes"]) == (0.5, 0.5, 0.5)
    assert (figures["accuracy_worst_speakers"], figures["accuracy_best_speakers"]) == (0.5, 0.5)
    assert figures["calibration_error"] == pytest.approx(np.mean([0.1, 0.6, 0.8, 0.3]), abs=1e-6)
    assert json.loads(json.dumps(figures)) == figures


def test_without_noise_only_the_clips_count_in_which_somebody_speaks(answers):
    assert scores.score(answers, ["no", "yes"], seed=1)["noise_clean_accuracy"] == 0.5
    figures = scores.score(answers, ["yes", "_silence_"], seed=1)
    spoken = answers.labels == 0
    assert figures["noise_clean_accuracy"] == (answers.predicted[spoken] == 0).mean()


def test_words_never_heard_are_rejected_as_unknown_or_silence(answers):
    classes = ["no", "_unknown_", "_silence_"]
    unheard = Answers(
        names=answers.names,
        speakers=answers.speakers,
        labels=np.ones(4, int),
        probabilities=np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.1, 0.2, 0.7], [0.3, 0.7, 0]], np.float32),
        embeddings=answers.embeddings,
    )
    figures = scores.rejection(unheard, classes, seed=1)
    assert (figures["unheard_clips"], figures["unheard_rejected"]) == (4, 0.75)
    assert figures["unheard_rejected_low"] < 0.75 < figures["unheard_rejected_high"]
    assert figures["unheard_rejected_speakers_low"] == 0.5  # ada's clips alone


def test_of_a_random_split_the_speakers_who_are_new_are_told_apart(answers):
    figures = scores.leak(answers, {"ada", "zoe"})
    assert figures["leaking"] == 1
    assert figures["new_speakers_clips"] == 2
    assert figures["new_speakers_accuracy"] == 0.5
    assert scores.leak(answers, {"ada", "bob"}) == {"leaking": 1, "new_speakers_clips": 0}


def test_the_stream_is_scored_at_the_threshold_of_the_validation_stream():
    validation = Heard(2.0, np.array([0.9]), np.array([]), np.array([0.6, 0.7, 0.3]))
    test = Heard(4.0, np.array([0.9, 0.8, 0.65, 0.0]), np.array([0.95, 0.1]), np.array([0.75, 0.1]))
    figures = scores.score_stream(validation, test, false_alarms_an_hour=0.5)
    assert figures["stream_threshold"] == pytest.approx(0.6, abs=1e-5)  # one false alarm in two hours
    assert (figures["stream_words"], figures["stream_missed"]) == (4, 0.25)
    assert figures["stream_wrong"] == 0.25
    assert figures["stream_false_alarms_an_hour"] == 0.25
    assert figures["stream_false_alarms_an_hour_low"] == pytest.approx(0.0253 / 4, abs=1e-4)  # of one event
    assert figures["stream_false_alarms_an_hour_high"] == pytest.approx(5.572 / 4, abs=1e-3)


def test_the_det_curve_falls_from_none_to_all_false_alarms():
    heard = Heard(2.0, np.array([0.9, 0.5, 0.2, 0.0]), np.array([]), np.array([0.3, 0.8, 0.1]))
    rows = scores.det_rows(heard)
    assert [(row["false_alarms_an_hour"], row["missed"]) for row in rows] == [(0.5, 0.75), (1.0, 0.5), (1.5, 0.25)]


def test_what_is_told_names_the_leak_the_rejection_and_the_stream(answers):
    figures = scores.score(answers, WORDS, seed=1)
    figures |= {f"noise_0db_accuracy{bound}": 0.5 for bound in ("", "_low", "_high")}
    figures |= scores.score_stream(*[Heard(1.0, np.array([0.9]), np.array([]), np.array([]))] * 2, 0.5)
    lines = scores.told(figures, leaking=True)
    assert "test accuracy 50.0%" in lines[0]
    assert "a random split leaks" in lines[0]
    assert "0.0 false alarms an hour, missed words 0.0%" in lines[-1]
    classes = ["no", "_unknown_"]
    figures |= scores.score(answers, classes, seed=1) | scores.rejection(answers, classes, seed=1)
    lines = scores.told(figures, leaking=False)
    assert "leaks" not in lines[0]
    assert lines[1].startswith("recall of _unknown_ 50.0%, 95 % interval")
    assert lines[2].startswith("rejected of 4 clips of words never heard: 50.0%")


def test_a_class_without_test_clips_has_no_figures(answers):
    figures = scores.score(answers, [*WORDS, "_silence_"], seed=1)
    assert "recall_yes" in figures
    assert not [name for name in figures if "_silence_" in name]


def test_the_most_confident_mistakes_come_first_with_clip_and_speaker(answers):
    assert scores.worst_mistakes(answers, WORDS) == [
        {"name": "c.wav", "speaker": "bob", "actual": "yes", "predicted": "no", "confidence": 0.8},
        {"name": "b.wav", "speaker": "ada", "actual": "no", "predicted": "yes", "confidence": 0.6},
    ]


def test_confusion_has_a_row_a_clip_and_words_a_row_a_word(answers):
    assert scores.confusion_rows(answers, WORDS)[1] == {"actual": "no", "predicted": "yes"}
    row = scores.word_rows(answers, WORDS)[0]
    assert 0 < row.pop("recall_low") < 0.5 < row.pop("recall_high") < 1
    assert row == {"word": "no", "precision": 0.5, "recall": 0.5, "f1": 0.5, "clips": 2}
