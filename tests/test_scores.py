import json
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_front_end, make_spec

from kws.core.files import write_csv
from kws.core.parallel import TASKS_AHEAD
from kws.evaluate import metrics, scores
from kws.evaluate.answers import Answers
from kws.evaluate.network import CLIPS_A_TASK, EvaluatedNetwork
from kws.recordings.background import NOBODY
from kws.recordings.clips import HOUSEHOLD
from kws.records.write import RecordWriter
from kws.train import models
from kws.train.litert import network_file
from kws.train.networks import NETWORKS

WORDS = ["no", "yes"]
FRONT_END = make_front_end(4000, 2000, 100, 100, 128, 16, 20.0, 2000.0, 1e-6)  # 20 frames, margins of 8
CLIPS = 150


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def trained(request, tmp_path_factory):
    """A network of each kind, its LiteRT file, and random clips in TFRecords, with their log-Mel."""
    folder = tmp_path_factory.mktemp("evaluated")
    front_end = replace(FRONT_END, mel_bins=40) if request.param == "bc_resnet" else FRONT_END
    spec = make_spec(front_end, test=CLIPS)
    rng = np.random.default_rng(0)
    power = rng.exponential(size=(CLIPS, 36, front_end.mel_bins)).astype(np.float32)
    with RecordWriter(folder, spec.clips) as records:
        for index, clip in enumerate(power):
            records.write("test", f"{index}.wav", f"voice{index}", index % 2, clip)
    log_mel = np.log(power[:, 8:28] + np.float32(1e-6))
    model = NETWORKS[request.param](20, front_end.mel_bins, 2, 1.0)
    model.get_layer("normalization").adapt(log_mel[..., None])
    (folder / "network.tflite").write_bytes(network_file(model))
    return model, folder, spec, log_mel


@pytest.fixture
def answers() -> Answers:
    return Answers(
        names=np.array(["a.wav", "b.wav", "c.wav", "d.wav"]),
        speakers=np.array(["ada", "ada", "bob", "bob"]),
        labels=np.array([0, 0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]], np.float32),
        embeddings=np.zeros((4, 128), np.float32),
    )


def test_every_clip_is_answered_as_keras_does_with_its_own_name_and_label(trained):
    model, folder, spec, log_mel = trained
    network = EvaluatedNetwork(folder / "network.tflite", threads=2)
    answers = scores.answer_clips(network, folder, "test", spec, embedded=True)
    assert answers.names.tolist() == [f"{index}.wav" for index in range(CLIPS)]
    assert answers.speakers.tolist() == [f"voice{index}" for index in range(CLIPS)]
    assert answers.labels.tolist() == [index % 2 for index in range(CLIPS)]
    embeddings, probabilities = models.embedding_and_probabilities(model)(log_mel[..., None])
    assert answers.predicted.tolist() == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose(answers.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(answers.embeddings, embeddings, atol=1e-5 * np.abs(embeddings).max())
    np.testing.assert_array_equal(network.probabilities(log_mel), answers.probabilities)
    without = scores.answer_clips(network, folder, "test", spec)
    assert without.embeddings.shape == (CLIPS, 0)
    np.testing.assert_array_equal(without.probabilities, answers.probabilities)
    assert without.names.tolist() == answers.names.tolist()


def test_clips_are_read_as_they_are_answered_and_then_forgotten(trained):
    _, folder, _, log_mel = trained
    alive: list[weakref.ref] = []
    most = 0

    def clips() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(5000):
            clip = log_mel[number % CLIPS].copy()
            alive[:] = [one for one in alive if one() is not None] + [weakref.ref(clip)]
            most = max(most, len(alive))
            yield clip

    network = EvaluatedNetwork(folder / "network.tflite", threads=2)
    assert len(network.probabilities(clips())) == 5000
    assert most <= (2 * TASKS_AHEAD + 3) * CLIPS_A_TASK


def test_an_answer_depends_neither_on_other_clips_nor_on_the_threads(trained):
    _, folder, _, log_mel = trained
    alone = EvaluatedNetwork(folder / "network.tflite", threads=1)
    embeddings, probabilities = EvaluatedNetwork(folder / "network.tflite", threads=3).answers(iter(log_mel))
    for index in (0, 70, CLIPS - 1):
        embedding, probability = alone.answers([log_mel[index]])
        np.testing.assert_array_equal(embedding, embeddings[index : index + 1])
        np.testing.assert_array_equal(probability, probabilities[index : index + 1])


def test_clips_of_another_shape_are_an_error_and_no_endless_wait(trained):
    network = EvaluatedNetwork(trained[1] / "network.tflite", threads=2)
    with pytest.raises(ValueError, match="reshape"):
        network.answers([np.zeros(3, np.float32)] * 1000)


def test_the_figures_of_a_case_done_by_hand(answers):
    figures = scores.score(answers, WORDS)
    assert figures["test_clips"] == 4
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_low"] < 0.5 < figures["accuracy_high"]
    assert (figures["accuracy_low"], figures["accuracy_high"]) == pytest.approx(
        metrics.share_interval(np.array([True, False, False, True]), answers.speakers), abs=1e-6
    )
    assert not [name for name in figures if "speakers_low" in name]  # there is one interval, that for other people
    assert figures["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.2, 0.7]).mean(), abs=1e-6)
    assert (figures["precision_yes"], figures["recall_yes"], figures["f1_yes"]) == (0.5, 0.5, 0.5)
    assert (figures["accuracy_worst_speakers"], figures["accuracy_best_speakers"]) == (0.5, 0.5)
    assert figures["calibration_error"] == pytest.approx(np.mean([0.1, 0.6, 0.8, 0.3]), abs=1e-6)
    assert json.loads(json.dumps(figures)) == figures


def test_without_noise_only_the_clips_count_in_which_somebody_speaks(answers):
    assert scores.score(answers, ["no", "yes"])["noise_clean_accuracy"] == 0.5
    figures = scores.score(answers, ["yes", "_silence_"])
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
    figures = scores.rejection(unheard, classes)
    assert (figures["unheard_clips"], figures["unheard_rejected"]) == (4, 0.75)
    assert figures["unheard_rejected_low"] < 0.75 < figures["unheard_rejected_high"]


def with_silence(answers: Answers, clips: int) -> Answers:
    """The same answers, and so many right ones to clips of silence that kws has made."""
    return Answers(
        names=np.append(answers.names, [f"_silence_/{n}" for n in range(clips)]),
        speakers=np.append(answers.speakers, [f"{NOBODY}_silence_/test-{n:05d}" for n in range(clips)]),
        labels=np.append(answers.labels, np.full(clips, 2)),
        probabilities=np.concatenate(
            [np.pad(answers.probabilities, ((0, 0), (0, 1))), np.tile(np.eye(3)[2:], (clips, 1))]
        ).astype(np.float32),
        embeddings=np.zeros((len(answers.names) + clips, 128), np.float32),
    )


def test_silence_is_no_speaker_who_is_understood_best(answers):
    """E9: and 40 clips of silence make the interval no narrower than what is known of two people allows."""
    figures = scores.score(with_silence(answers, 40), [*WORDS, "_silence_"])
    assert figures["accuracy"] == pytest.approx(42 / 44, abs=1e-6)
    assert (figures["accuracy_worst_speakers"], figures["accuracy_best_speakers"]) == (0.5, 0.5)
    assert figures["accuracy_low"] < 42 / 44 - 4 / 44 * 0.4  # of the four spoken clips, half are right


def test_recall_of_a_word_has_an_interval_for_other_people():
    """Ten people say "no" twenty times each; two are never understood."""
    speakers = np.repeat(np.arange(10), 20)
    predicted = np.where(speakers < 2, 1, 0)
    answers = Answers(
        names=np.arange(200).astype(str),
        speakers=speakers.astype(str),
        labels=np.zeros(200, int),
        probabilities=np.eye(2, dtype=np.float32)[predicted],
        embeddings=np.zeros((200, 3), np.float32),
    )
    row = scores.word_rows(answers, WORDS)[0]
    assert row["recall"] == 0.8
    assert row["recall_low"] < 0.55  # Wilson's interval of 200 clips begins at 0.739
    assert scores.score(answers, WORDS)["accuracy_low"] < 0.55


def test_of_a_random_split_the_speakers_who_are_new_are_told_apart(answers):
    figures = scores.leak(answers, {"ada", "zoe"}, at_random=True)
    assert figures["leaking"] == 1
    assert figures["new_speakers_clips"] == 2
    assert figures["new_speakers_accuracy"] == 0.5
    assert scores.leak(answers, {"ada", "bob"}, at_random=True) == {"leaking": 1, "new_speakers_clips": 0}


def test_a_split_by_speaker_leaks_if_somebody_in_the_test_is_in_training(answers):
    assert scores.leak(answers, {"ada", "zoe"}, at_random=False) == scores.leak(answers, {"ada", "zoe"}, at_random=True)
    assert scores.leak(answers, {"zoe"}, at_random=False) == {}
    silence = replace(answers, speakers=np.array(["ada", "ada", f"{NOBODY}a", f"{NOBODY}b"]))
    assert scores.leak(silence, {"zoe", f"{NOBODY}c"}, at_random=False) == {}  # silence is nobody's
    assert scores.leak(silence, {"ada"}, at_random=False) == {"leaking": 1, "new_speakers_clips": 0}


MADE = "_computed_/yes/computed-test-0000_nohash_0.wav"


def test_people_and_computed_voices_are_scored_apart(answers):
    assert scores.by_voices(answers) == {}
    mixed = replace(answers, names=np.array(["a.wav", "b.wav", "c.wav", MADE]), speakers=np.array([*"aabc"]))
    figures = scores.by_voices(mixed)
    assert (figures["people_clips"], figures["computed_voices_clips"]) == (3, 1)
    assert figures["people_accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    assert figures["computed_voices_accuracy"] == 1
    assert figures["people_accuracy_low"] < figures["people_accuracy"] < figures["people_accuracy_high"]
    silence = replace(mixed, speakers=np.array(["a", "a", f"{NOBODY}b", "c"]))
    assert scores.by_voices(silence)["people_clips"] == 2  # silence is nobody's


def test_computed_voices_are_no_new_speakers(answers):
    mixed = replace(answers, names=np.array(["a.wav", "b.wav", "c.wav", MADE]), speakers=np.array([*"aabc"]))
    assert scores.leak(mixed, {"a"}, at_random=False)["new_speakers_clips"] == 1


def test_it_is_said_that_computed_voices_say_test_clips(answers):
    mixed = replace(answers, names=np.array(["a.wav", "b.wav", "c.wav", MADE]), speakers=np.array([*"aabc"]))
    figures = scores.score(mixed, WORDS) | scores.by_voices(mixed)
    figures |= {f"noise_0db_accuracy{bound}": 0.5 for bound in ("", "_low", "_high")}
    line = scores.summary_lines(figures, WORDS)[1]
    assert line.startswith(
        "computed voices say 1 of these clips, where nobody recorded the word, and people 3: 33.3%, 95 %"
    )
    assert line.endswith("; every figure of all test clips mixes both")


def test_it_is_said_when_nothing_tests_whether_other_words_are_rejected(answers):
    figures = scores.score(answers, [*WORDS, "_unknown_"])
    figures |= {f"noise_0db_accuracy{end}": 0.5 for end in ("", "_low", "_high")}
    told = "not tested: whether other words are rejected, since the test clips hold none"
    assert told in scores.summary_lines(figures, [*WORDS, "_unknown_"])
    assert told not in scores.summary_lines(figures, WORDS)
    figures |= scores.rejection(answers, ["no", "_unknown_"])
    assert told not in scores.summary_lines(figures, [*WORDS, "_unknown_"])


def test_what_is_printed_names_the_leak_and_the_rejection(answers):
    figures = scores.score(answers, WORDS)
    figures |= {f"noise_0db_accuracy{bound}": 0.5 for bound in ("", "_low", "_high")}
    lines = scores.summary_lines(figures | {"leaking": 1}, WORDS)
    assert "test accuracy 50.0%" in lines[0]
    assert lines[1].startswith("all figures are too good for new people: the split leaks")
    classes = ["no", "_unknown_"]
    figures |= scores.score(answers, classes) | scores.rejection(answers, classes)
    lines = scores.summary_lines(figures, classes)
    assert not [line for line in lines if "leaks" in line]
    assert [line for line in lines if line.startswith("recall of _unknown_ 50.0%, 95 % interval")]
    assert [line for line in lines if line.startswith("rejected of 4 clips of words never heard: 50.0%")]


def test_what_kws_listen_has_heard_is_counted_and_said_beside_the_figures(answers, tmp_path):
    clips = [("train", "no", HOUSEHOLD), ("train", "_unknown_", HOUSEHOLD), ("train", "no", "ada"), ("test", "no", "x")]
    rows = [{"split": split, "status": "ok", "class": label, "speaker": who} for split, label, who in clips]
    write_csv(tmp_path / "manifest.csv", [*rows, {**rows[0], "status": "unusable"}], list(rows[0]))
    heard = scores.heard(tmp_path / "manifest.csv")
    assert heard == {"heard_clips": 2, "heard_unknown_clips": 1}
    write_csv(tmp_path / "manifest.csv", rows[2:], list(rows[0]))
    assert scores.heard(tmp_path / "manifest.csv") == {}
    classes = ["no", "_unknown_"]
    figures = scores.score(answers, classes) | scores.rejection(answers, classes)
    figures |= {f"noise_0db_accuracy{bound}": 0.5 for bound in ("", "_low", "_high")}
    assert "kws listen" not in "".join(scores.summary_lines(figures, classes))
    lines = scores.summary_lines(figures | heard, classes)
    assert lines[1] == (
        "2 training clips are what kws listen --keep has heard: if people of the test speak in them, all figures are "
        "too good for new people"
    )
    [rejected] = [line for line in lines if line.startswith("rejected of")]
    assert rejected.endswith(
        "; some of these words may be in the 1 training clips of other words that kws listen --keep has heard"
    )


def test_a_class_without_test_clips_has_no_figures(answers):
    figures = scores.score(answers, [*WORDS, "_silence_"])
    assert "recall_yes" in figures
    assert not [name for name in figures if "_silence_" in name]


def test_the_most_confident_mistakes_come_first_with_clip_and_speaker(answers):
    assert scores.worst_mistakes(answers, WORDS) == [
        {"name": "c.wav", "speaker": "bob", "actual": "yes", "predicted": "no", "confidence": 0.8},
        {"name": "b.wav", "speaker": "ada", "actual": "no", "predicted": "yes", "confidence": 0.6},
    ]


def test_confusion_has_a_row_a_clip_and_words_a_row_a_word(answers):
    assert list(scores.confusion_rows(answers, WORDS))[1] == {"actual": "no", "predicted": "yes"}
    row = scores.word_rows(answers, WORDS)[0]
    assert (row.pop("recall_low"), row.pop("recall_high")) == (0, 1)  # one person says it
    assert row == {"word": "no", "precision": 0.5, "recall": 0.5, "f1": 0.5, "clips": 2}
