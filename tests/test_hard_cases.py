from dataclasses import replace

import numpy as np

from kws.evaluate.answers import Answers
from kws.project import hard_cases
from kws.project.hard_cases import Noise, Person
from kws.recordings.background import NOBODY


def answers_of(**clips: str) -> Answers:
    """Clips by speaker: `+` is right, `-` is wrong; the later a clip, the more confident is the answer."""
    speakers = [speaker for speaker, marks in clips.items() for _ in marks]
    right = np.array([mark == "+" for marks in clips.values() for mark in marks])
    sure = np.linspace(0.6, 0.9, len(right))
    probabilities = np.where(right[:, None], np.stack([sure, 1 - sure], 1), np.stack([1 - sure, sure], 1))
    return Answers(
        names=np.array([f"{number}.wav" for number in range(len(right))]),
        speakers=np.array([NOBODY + "1" if speaker == "silence" else speaker for speaker in speakers]),
        labels=np.zeros(len(right), int),
        probabilities=probabilities.astype(np.float32),
        embeddings=np.zeros((len(right), 1), np.float32),
    )


def test_people_with_five_clips_or_more_are_listed_with_the_lowest_accuracy_first():
    answers = answers_of(ada="+++++", bob="----", eve="++--+", joe="-++++", sue="-+++++++++", silence="------")
    assert hard_cases.worst_people(answers) == [Person("eve", 3, 5), Person("joe", 4, 5), Person("sue", 9, 10)]


def test_computed_voices_are_no_people():
    answers = answers_of(ada="++---", voice="-----")
    answers = replace(answers, names=np.where(answers.speakers == "voice", "_computed_/a.wav", answers.names))
    assert hard_cases.worst_people(answers) == [Person("ada", 2, 5)]


def test_of_equals_the_one_with_more_clips_comes_first_and_the_list_is_short():
    answers = answers_of(**{f"speaker{number}": "-" * (5 + number) for number in range(8)})
    assert [one.clips for one in hard_cases.worst_people(answers)] == [12, 11, 10, 9, 8]


def test_their_clips_are_first_the_mistakes_the_most_confident_first(monkeypatch):
    monkeypatch.setattr(hard_cases, "CLIPS_OF_ONE", 4)
    answers = answers_of(ada="+-+-++", bob="-----", eve="+++++")
    people = hard_cases.worst_people(answers)
    assert hard_cases.clips_of(people, answers).tolist() == [10, 9, 8, 7, 3, 1, 5, 4]  # bob's, then ada's
    assert hard_cases.clips_of([], answers).tolist() == []


def test_noises_are_compared_at_0_db():
    rows = [
        {"snr_db": "0", "noise": "all", "accuracy": "0.1"},
        {"snr_db": "0", "noise": "tap", "accuracy": "0.8"},
        {"snr_db": "0", "noise": "cat", "accuracy": "0.7"},
        {"snr_db": "20", "noise": "dog", "accuracy": "0.2"},
    ]
    assert hard_cases.worst_noise(rows) == [Noise("cat", 0.7), Noise("tap", 0.8)]
