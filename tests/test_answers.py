import time

import numpy as np

from kws.core.stage import voices_title
from kws.evaluate.answers import Answers, read_answers, write_answers


def test_what_is_read_is_what_was_written_and_the_bytes_do_not_depend_on_the_time(tmp_path, monkeypatch):
    answers = Answers(
        names=np.array(["nein/ä.wav", "yes/b.wav"]),
        speakers=np.array(["ada", "bob"]),
        labels=np.array([0, 1]),
        probabilities=np.array([[0.6, 0.4], [0.7, 0.3]], np.float32),
        embeddings=np.arange(6, dtype=np.float32).reshape(2, 3),
    )
    write_answers(tmp_path / "now.npz", answers, ["nein", "yes"], synthetic=True)
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    write_answers(tmp_path / "later.npz", answers, ["nein", "yes"], synthetic=True)
    assert (tmp_path / "now.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()

    found, classes, synthetic = read_answers(tmp_path / "now.npz")
    assert (classes, synthetic) == (["nein", "yes"], True)
    for name, values in vars(answers).items():
        np.testing.assert_array_equal(getattr(found, name), values, strict=True)
    assert found.predicted.tolist() == [0, 0]
    assert found.confidence.tolist() == answers.probabilities[:, 0].tolist()


def test_where_computed_voices_speak_beside_people_the_voices_are_partly_synthetic():
    names = np.array(["yes/ada/1.wav", "_computed_/yes/computed-test-0000_nohash_0.wav"])
    answers = Answers(names, names, np.zeros(2, int), np.ones((2, 1), np.float32), np.zeros((2, 0), np.float32))
    assert answers.computed.tolist() == [False, True]
    assert answers.voices(synthetic=False) == "partly"
    people = answers.subset(np.array([0]))
    assert (people.voices(synthetic=False), people.voices(synthetic=True)) == (False, True)
    assert voices_title("a", "partly") == "a (partly synthetic voices)"
    assert [voices_title("a", synthetic) for synthetic in (False, True)] == ["a", "a (synthetic voices)"]
