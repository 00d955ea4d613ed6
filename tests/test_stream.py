import math
import runpy
from collections.abc import Iterable

import numpy as np
import pytest
from conftest import ROOT, make_front_end

from kws.evaluate.stream import (
    THRESHOLDS,
    HeardStream,
    HeardStretch,
    Reaction,
    Stretch,
    Utterance,
    hear,
    judge,
    read_stream,
    write_stream,
)
from kws.evaluate.stream_sound import stretches
from kws.recordings.manifest import Recording
from kws.spotting.detect import Timing

RATE = 16_000
CLASSES = ["low", "high", "_unknown_"]
PITCHES = {"low": 300, "middle": 1200, "high": 4000}  # Hz; nobody wants to detect the middle one
NOISES = {"hiss": np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32)}


def front_end_of(seconds: float):
    return make_front_end(RATE, round(seconds * RATE), 480, 320, 512, 40, 20.0, 7600.0, 1e-6)


def tone(word: str, speaker: str, seconds: float, number: int) -> Recording:
    """A clip with a tone for a third of its length, at a place that depends on the number."""
    length = round(seconds * RATE)
    sound = np.random.default_rng(number).normal(scale=1e-4, size=length).astype(np.float32)
    first = length * (1 + number % 8) // 15
    sound[first : first + length // 3] += np.sin(2 * np.pi * PITCHES[word] * np.arange(length // 3) / RATE)
    label = word if word in CLASSES else "_unknown_"
    return Recording(f"{word}/{speaker}-{number}.wav", speaker, word, label, sound)


def clips_of(words: Iterable[str], seconds: float = 1.0) -> list[Recording]:
    return [
        tone(word, speaker, seconds, 3 * place + number)
        for word in words
        for place, speaker in enumerate(("ada", "bob", "eve"))
        for number in range(3)
    ]


def loud_frames(clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames that hold a tone, (windows, frames), and the Mel bin of each window's loudest tone."""
    log_mel = np.stack(list(clips))
    loud = log_mel.max(axis=2) - np.median(log_mel, axis=2) > 3
    return loud, (log_mel * loud[..., None]).sum(axis=1).argmax(axis=1)


def answers(is_word: np.ndarray, mel: np.ndarray) -> np.ndarray:
    low, high = is_word & (mel < 12), is_word & (mel > 25)
    return np.stack([low, high, ~(low | high)], axis=1).astype(np.float32)


def knows_half_words(clips: Iterable[np.ndarray]) -> np.ndarray:
    """A network that knows a word as soon, and as long, as half of it is in the window."""
    loud, mel = loud_frames(clips)
    return answers(loud.mean(axis=1) >= 1 / 6, mel)


def knows_words_in_the_middle(clips: Iterable[np.ndarray]) -> np.ndarray:
    """A network that knows a word of which some is in the middle fifth of its window."""
    loud, mel = loud_frames(clips)
    middle, near = loud.shape[1] // 2, loud.shape[1] // 10
    return answers(loud[:, middle - near : middle + near + 1].any(axis=1), mel)


def run(network, words, speech=(), seconds=1.0, minutes=2):
    front_end = front_end_of(seconds)
    sound = stretches(words, speech, NOISES, front_end=front_end, classes=CLASSES, minutes=minutes, seed=1)
    return hear({"ours": network}, sound, front_end=front_end, words=[0, 1])["ours"].at(0.5)


def counts(outcome) -> tuple[int, int, int]:
    """Missed words, wrong ones, false alarms."""
    return int(outcome.missed.sum()), int(outcome.taken_for_another.sum()), len(outcome.alarms())


@pytest.mark.parametrize("network", [knows_half_words, knows_words_in_the_middle])
@pytest.mark.parametrize("seconds", [0.5, 1, 1.5, 2, 3])
def test_a_perfect_network_has_every_word_right_and_no_false_alarm_whatever_the_clips_length(network, seconds):
    outcome = run(network, clips_of(["low", "high"], seconds), clips_of(["middle"], seconds), seconds, minutes=3)
    assert outcome.hours == pytest.approx(3 / 60)
    assert len(outcome.missed) >= 8
    assert counts(outcome) == (0, 0, 0)


def test_other_speech_that_is_taken_for_a_word_is_a_false_alarm_of_who_speaks():
    speech = [
        Recording(f"{n}.wav", "zoe", "bed", "_unknown_", clip.waveform) for n, clip in enumerate(clips_of(["high"]))
    ]
    outcome = run(knows_half_words, clips_of(["low"]), speech)
    missed, wrong, false = counts(outcome)
    assert (missed, wrong) == (0, 0)
    assert false >= 5
    assert set(outcome.kinds) == {"speech"}
    assert set(outcome.alarms()) == {"zoe"}


def test_a_word_taken_for_another_is_missed_and_wrong_but_no_false_alarm():
    high = clips_of(["high"])
    outcome = run(knows_half_words, [Recording(one.name, one.speaker, "low", "low", one.waveform) for one in high])
    words = len(outcome.missed)
    assert counts(outcome) == (words, words, 0)
    assert set(outcome.speakers) == {"ada", "bob", "eve"}
    assert set(outcome.clips) == {one.name for one in high}


def test_a_network_that_hears_words_in_background_has_false_alarms_of_that_background():
    outcome = run(lambda windows: np.tile(np.float32([0.9, 0, 0.1]), (len(windows), 1)), [], [])
    assert len(outcome.missed) == 0
    assert len(outcome.alarms()) == 2  # one for each stretch, since it never lets go
    assert set(outcome.kinds) == {"background"}
    assert set(outcome.sources) == {"hiss"}


def test_several_networks_hear_the_same_stream():
    words, front_end = clips_of(["low", "high"]), front_end_of(1)
    sound = stretches(words, [], NOISES, front_end=front_end, classes=CLASSES, minutes=1, seed=1)
    deaf = lambda windows: np.tile(np.float32([0, 0, 1]), (len(windows), 1))  # noqa: E731
    heard = hear({"ours": knows_half_words, "deaf": deaf}, sound, front_end=front_end, words=[0, 1])
    first, second = heard["ours"].at(0.5), heard["deaf"].at(0.5)
    assert first.clips.tolist() == second.clips.tolist()
    assert counts(first) == (0, 0, 0)
    assert counts(second) == (len(second.missed), 0, 0)


def test_the_delay_is_from_the_end_of_the_word_to_the_end_of_the_window_that_detects_it():
    outcome = run(knows_half_words, clips_of(["low"]))
    # Half of the word is in the first window that knows it, which ends 1/6 s before the word does, or up to a step
    # later. It has to be held for four more windows of 0.08 s.
    assert np.median(outcome.delays) == pytest.approx(4 * 0.08 - 1 / 6 + 0.04, abs=0.05)
    assert np.isnan(
        run(lambda windows: np.tile(np.float32([0, 1, 0]), (len(windows), 1)), clips_of(["low"])).delays
    ).all()


WORD, OTHER = Utterance(2.0, 2.6, 0, "ada", "a.wav"), Utterance(4.0, 7.0, None, "bob", "b.wav")


def at(middle: float, word: int) -> Reaction:
    return Reaction(middle - 0.5, middle + 0.5, word, 0.9)


RIGHT, MISSED, WRONG = (False, False), (True, False), (True, True)


@pytest.mark.parametrize(
    ("reactions", "word", "false"),
    [
        ([], MISSED, []),
        ([at(2.3, 0)], RIGHT, []),
        ([at(2.3, 1)], WRONG, []),
        ([at(2.0, 0), at(3.0, 1)], RIGHT, [("word", "ada")]),  # E1: counted nowhere before
        ([at(1.6, 1), at(2.6, 0)], RIGHT, [("word", "ada")]),
        ([at(1.9, 0), at(2.9, 0)], RIGHT, [("word", "ada")]),
        ([at(1.9, 1), at(2.9, 1)], WRONG, [("word", "ada")]),
        ([at(3.2, 0)], MISSED, [("background", "hiss")]),
        ([at(3.05, 0)], MISSED, [("word", "ada")]),  # a sixth of the word is no reason to react
        ([at(4.1, 0)], MISSED, [("speech", "bob")]),
        ([at(5.5, 1), at(6.5, 1)], MISSED, [("speech", "bob"), ("speech", "bob")]),
    ],
)
def test_what_is_right_wrong_and_false(reactions, word, false):
    outcome = judge(reactions, [WORD, OTHER], "hiss", 0.1)
    assert (*outcome.missed, *outcome.taken_for_another) == word
    assert [*zip(outcome.kinds.tolist(), outcome.sources.tolist(), strict=True)] == false
    assert (outcome.speakers.tolist(), outcome.clips.tolist()) == (["ada"], ["a.wav"])


def test_of_two_right_detections_at_a_word_the_first_one_says_how_late_it_is():
    outcome = judge([at(1.9, 0), at(2.9, 0)], [WORD], "hiss", 0.1)
    assert outcome.delays.tolist() == [pytest.approx(2.4 - 2.6)]
    assert np.isnan(judge([at(1.9, 1)], [WORD], "hiss", 0.1).delays).all()


def test_false_alarms_of_one_kind_are_told_apart():
    outcome = judge([at(3.05, 0), at(5.5, 1), at(9, 1)], [WORD, OTHER], "hiss", 0.1)
    assert outcome.alarms().tolist() == ["ada", "bob", "hiss"]
    assert {kind: outcome.alarms(kind).tolist() for kind in ("word", "speech", "background")} == {
        "word": ["ada"], "speech": ["bob"], "background": ["hiss"],
    }  # fmt: skip


def heard_of(*scores: float, hours: float = 1.0) -> HeardStream:
    """What a network hears of background: in each minute a window with one of these scores, 0 where there is none."""
    timing = Timing(4, 1280, held=1, apart=13)
    values = np.pad(scores, (0, round(60 * hours) - len(scores)))
    stretches = [HeardStretch(np.array([[0], [value]], np.float32), [], "hiss") for value in values]
    return HeardStream(stretches, [0], timing, step=0.08, clip=1.0)


def test_the_thresholds_are_spaced_evenly_in_the_logit():
    assert THRESHOLDS[-1] == 1
    assert THRESHOLDS[0] == pytest.approx(0.018, abs=1e-3)
    inner = np.array(THRESHOLDS[:100])
    assert np.diff(np.log(inner / (1 - inner))) == pytest.approx(0.1, abs=1e-3)
    assert [round(value, 6) for value in THRESHOLDS] == list(THRESHOLDS)
    assert len(set(THRESHOLDS)) == len(THRESHOLDS)


def test_the_threshold_is_the_lowest_that_keeps_the_rate():
    heard = heard_of(0.2, 0.95, 0.4, 0.6, hours=2)
    for alarms, above in enumerate((0.95, 0.6, 0.4, 0.2)):
        threshold = heard.threshold(alarms / 2)
        assert max(one for one in THRESHOLDS if one < threshold) < above < threshold
        assert len(heard.at(threshold).alarms()) == alarms
    assert heard.threshold(2) == THRESHOLDS[0]
    assert heard_of(*[1.0] * 8).threshold(0.5) == 1  # which does not keep it


def test_above_the_threshold_every_one_keeps_the_rate():
    """A low threshold that is never left makes no more alarms than a high one: it must not be chosen for that."""
    timing = Timing(4, 1280, held=1, apart=2)
    up_and_down = np.tile(np.float32([[0.9], [0.9], [0.3], [0.3]]), (10, 1))
    heard = HeardStream([HeardStretch(up_and_down, [], "hiss")] * 60, [0], timing, step=0.08, clip=1.0)
    assert len(heard.at(0.2).alarms()) == 60
    assert len(heard.at(0.5).alarms()) == 600
    assert 0.9 < heard.threshold(100) < 0.92


# by length of a clip, with frames of one sample: windows from one to the next, which are held, from one detection on
TIMES = {8: (4, 2, 2), 20: (4, 3, 5), 80: (8, 4, 10)}


def plainly(probabilities: np.ndarray, script: list[Utterance], clip: int, threshold: float):
    """The rule as docs/evaluation.md has it, one sentence after the other.

    Returns whether each word is missed, whether it is wrong, when each right one is reported after its end (in frames;
    none: not a number), and kind and source of each false alarm, sorted.
    """
    step, held, apart = TIMES[clip]
    detected: list[tuple[int, int]] = []
    told = [False, False]
    for window in range(len(probabilities)):
        scores = [min(probabilities[max(0, window - held + 1) : window + 1, word]) for word in (0, 1)]
        told = [before and score >= threshold for before, score in zip(told, scores, strict=True)]
        word = scores.index(max(scores))
        if scores[word] >= threshold and not told[word] and all(window - n >= apart for n, _ in detected):
            detected.append((window, word))
            told[word] = True

    reactions: dict[int, list[tuple[int, int]]] = {
        place: [] for place, one in enumerate(script) if one.word is not None
    }
    false = []
    for window, word in detected:
        heard = set(range(window * step, window * step + clip))
        said = [set(range(int(one.start), int(one.end))) for one in script]
        at = [n for n, one in enumerate(said) if one & heard and 2 * len(one & heard) >= min(len(one), len(heard))]
        beside = [n for n, one in enumerate(said) if one & heard]
        for candidates in ([n for n in at if script[n].word == word], at, beside):
            if candidates:
                away = [abs(sum(heard) / len(heard) - sum(said[n]) / len(said[n])) for n in candidates]
                belongs = candidates[away.index(min(away))]
                break
        else:
            false.append(("background", "hiss"))
            continue
        if belongs not in reactions:
            false.append(("speech", script[belongs].speaker))
        elif belongs in at:
            reactions[belongs].append((word, window))
        else:
            false.append(("word", script[belongs].speaker))
    missed, wrong, delays = [], [], []
    for place, there in reactions.items():
        right = [window for word, window in there if word == script[place].word]
        missed.append(not right)
        wrong.append(missed[-1] and len(there) > 0)
        delays.append(right[0] * step + clip - script[place].end if right else math.nan)
        false += [("word", script[place].speaker)] * (len(there) - 1)
    return missed, wrong, delays, sorted(false)


def test_on_random_scripts_and_scores_the_plain_definition_says_the_same():
    rng = np.random.default_rng(1)
    for _ in range(10_000):
        clip = int(rng.choice([*TIMES]))
        step = TIMES[clip][0]
        length = int(rng.integers(clip, 3 * clip + 1))
        windows = (length - clip) // step + 1
        probabilities = (rng.integers(0, 5, size=(windows, 3)) / 4).astype(np.float32)
        script = []
        for number in range(rng.integers(0, 5)):
            start = int(rng.integers(0, length))
            end = start + int(rng.integers(1, 2 * clip))
            word = [0, 1, None][rng.integers(3)]
            script.append(Utterance(start, end, word, "ab"[rng.integers(2)], f"{number}.wav"))
        front_end = make_front_end(1, clip, 1, 1, 1, 1, 0.0, 0.5, 1.0)
        stretch = Stretch(np.zeros((length, 1), np.float32), script, "hiss")
        random = lambda _, p=probabilities: p  # noqa: E731
        threshold = float(rng.choice([0.0, 0.25, 0.45, 0.6, 0.75, 1.0]))
        outcome = hear({"random": random}, [stretch], front_end=front_end, words=[0, 1])["random"].at(threshold)
        missed, wrong, delays, false = plainly(probabilities, script, clip, threshold)
        said = [one for one in script if one.word is not None]
        assert outcome.clips.tolist() == [one.clip for one in said]
        assert outcome.speakers.tolist() == [one.speaker for one in said]
        assert outcome.missed.tolist() == missed
        assert outcome.taken_for_another.tolist() == wrong
        np.testing.assert_array_equal(outcome.delays, delays)
        assert sorted(zip(outcome.kinds, outcome.sources, strict=True)) == false


def test_a_stream_is_read_as_it_was_written(tmp_path):
    outcome = run(knows_half_words, clips_of(["low"]), clips_of(["middle"]), minutes=1)
    write_stream(tmp_path / "stream.npz", outcome)
    read = read_stream(tmp_path / "stream.npz")
    for name, values in vars(outcome).items():
        np.testing.assert_array_equal(getattr(read, name), values)


def test_the_picture_in_the_docs_shows_what_the_code_says():
    page = runpy.run_path(str(ROOT / "docs" / "stream_cases.py"))
    assert {title: page["verdict"](*case) for title, case in page["CASES"].items()} == {
        "right": "right",
        "missed": "missed",
        "wrong": "missed, and wrong",
        "a wrong word beside a right one": "right\nfalse alarm beside a word",
        "twice": "right\nfalse alarm beside a word",
        "less than half of the word": "missed\nfalse alarm beside a word",
        "other speech": "false alarm at other speech",
        "background": "false alarm in background",
    }
