import math
import runpy
from collections.abc import Iterable

import numpy as np
import pytest
from conftest import ROOT, make_front_end

from kws.evaluate.stream import Reaction, Stretch, Utterance, judge, read_stream, simulate, write_stream
from kws.evaluate.stream_sound import stretches
from kws.recordings.manifest import Recording

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
    """A network that knows a word in the middle of its window."""
    loud, mel = loud_frames(clips)
    middle = loud.shape[1] // 2
    return answers(loud[:, middle - 1 : middle + 2].any(axis=1), mel)


def run(network, words, speech=(), seconds=1.0, minutes=2):
    front_end = front_end_of(seconds)
    sound = stretches(words, speech, NOISES, front_end=front_end, classes=CLASSES, minutes=minutes, seed=1)
    return simulate({"ours": network}, sound, front_end=front_end, words=[0, 1])["ours"]


def counts(outcome, threshold=0.5) -> tuple[int, int, int]:
    """Missed words, wrong ones, false alarms."""
    missed, wrong = outcome.missed(threshold), outcome.taken_for_another(threshold)
    return int(missed.sum()), int(wrong.sum()), len(outcome.alarms(threshold))


@pytest.mark.parametrize("network", [knows_half_words, knows_words_in_the_middle])
@pytest.mark.parametrize("seconds", [0.5, 1, 1.5, 2, 3])
def test_a_perfect_network_has_every_word_right_and_no_false_alarm_whatever_the_clips_length(network, seconds):
    outcome = run(network, clips_of(["low", "high"], seconds), clips_of(["middle"], seconds), seconds, minutes=3)
    assert outcome.hours == pytest.approx(3 / 60)
    assert len(outcome.right_scores) >= 8
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
    assert set(outcome.alarms(0.5)) == {"zoe"}


def test_a_word_taken_for_another_is_missed_and_wrong_but_no_false_alarm():
    high = clips_of(["high"])
    outcome = run(knows_half_words, [Recording(one.name, one.speaker, "low", "low", one.waveform) for one in high])
    words = len(outcome.right_scores)
    assert counts(outcome) == (words, words, 0)
    assert set(outcome.speakers) == {"ada", "bob", "eve"}
    assert set(outcome.clips) == {one.name for one in high}


def test_a_network_that_hears_words_in_background_has_false_alarms_of_that_background():
    outcome = run(lambda windows: np.tile(np.float32([0.9, 0, 0.1]), (len(windows), 1)), [], [])
    assert len(outcome.right_scores) == 0
    assert len(outcome.false_scores) == pytest.approx(2 * 60, abs=6)  # one for each second
    assert set(outcome.kinds) == {"background"}
    assert set(outcome.sources) == {"hiss"}


def test_several_networks_hear_the_same_stream():
    words, front_end = clips_of(["low", "high"]), front_end_of(1)
    sound = stretches(words, [], NOISES, front_end=front_end, classes=CLASSES, minutes=1, seed=1)
    deaf = lambda windows: np.tile(np.float32([0, 0, 1]), (len(windows), 1))  # noqa: E731
    outcomes = simulate({"ours": knows_half_words, "deaf": deaf}, sound, front_end=front_end, words=[0, 1])
    first, second = outcomes["ours"], outcomes["deaf"]
    assert first.clips.tolist() == second.clips.tolist()
    assert counts(first) == (0, 0, 0)
    assert counts(second) == (len(second.right_scores), 0, 0)


def test_the_delay_is_from_the_end_of_the_word_to_the_end_of_the_last_window_that_is_needed():
    outcome = run(knows_half_words, clips_of(["low"]))
    # Half of the word is in the first window that knows it, which ends 1/6 s before the word does. Two windows later
    # the average is 1, two more windows are in that average, and nine more could be higher: 1.3 s after the first.
    assert np.median(outcome.delays) == pytest.approx(1.3 - 1 / 6, abs=0.06)
    assert np.isnan(
        run(lambda windows: np.tile(np.float32([0, 1, 0]), (len(windows), 1)), clips_of(["low"])).delays
    ).all()


WORD, OTHER = Utterance(2.0, 2.6, 0, "ada", "a.wav"), Utterance(4.0, 7.0, None, "bob", "b.wav")


def at(middle: float, word: int, score: float) -> Reaction:
    return Reaction(middle - 0.5, middle + 0.5, word, score, middle + 1.5)


@pytest.mark.parametrize(
    ("reactions", "right", "wrong", "false"),
    [
        ([], 0.0, 0.0, []),
        ([at(2.3, 0, 0.9)], 0.9, 0.0, []),
        ([at(2.3, 1, 0.9)], 0.0, 0.9, []),
        ([at(2.0, 0, 0.9), at(3.0, 1, 0.99)], 0.9, 0.0, [(0.99, "word", "ada")]),  # E1: counted nowhere before
        ([at(1.6, 1, 0.99), at(2.6, 0, 0.9)], 0.9, 0.0, [(0.99, "word", "ada")]),
        ([at(1.9, 0, 0.9), at(2.9, 0, 0.8)], 0.9, 0.0, [(0.8, "word", "ada")]),
        ([at(3.2, 0, 0.9)], 0.0, 0.0, [(0.9, "background", "hiss")]),
        ([at(3.05, 0, 0.9)], 0.0, 0.0, [(0.9, "word", "ada")]),  # a sixth of the word is no reason to react
        ([at(4.1, 0, 0.9)], 0.0, 0.0, [(0.9, "speech", "bob")]),
        ([at(5.5, 1, 0.9), at(6.5, 1, 0.8)], 0.0, 0.0, [(0.9, "speech", "bob"), (0.8, "speech", "bob")]),
    ],
)
def test_what_is_right_wrong_and_false(reactions, right, wrong, false):
    outcome = judge(reactions, [WORD, OTHER], "hiss", 0.1)
    assert (outcome.right_scores.tolist(), outcome.wrong_scores.tolist()) == ([right], [wrong])
    assert [*zip(outcome.false_scores.tolist(), outcome.kinds.tolist(), outcome.sources.tolist(), strict=True)] == false
    assert (outcome.speakers.tolist(), outcome.clips.tolist()) == (["ada"], ["a.wav"])


def test_one_reaction_at_a_word_is_no_false_alarm_at_any_threshold():
    short = Utterance(2.0, 2.2, 0, "ada", "a.wav")
    outcome = judge([at(1.6, 1, 0.9), at(2.6, 0, 0.7)], [short], "hiss", 0.1)  # each window holds half of it
    assert (outcome.right_scores.tolist(), outcome.wrong_scores.tolist(), outcome.false_scores.tolist()) == (
        [0.7],
        [0.9],
        [0.7],
    )
    assert [counts(outcome, threshold) for threshold in (0.95, 0.8, 0.6)] == [(1, 0, 0), (1, 1, 0), (0, 0, 1)]


STEPS = {3: (1, 1), 8: (1, 5), 20: (2, 5)}  # by length of a clip: from window to window, windows that are averaged


def plainly_reported(scores: np.ndarray, reach: int, half: int) -> list[int]:
    """Which window must be heard until no later one can change what becomes of this one, and of each before it.

    A window becomes a detection, once it has been heard to a clip's length behind it, and each higher one that is near
    has lost to a detection that is known. It loses as soon as a detection near it is known.
    """
    known: dict[int, int] = {}  # by window that is a detection
    higher: set[int] = set()
    for window in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        near = range(window - reach, window + reach + 1)
        if not known.keys() & {*near}:
            known[window] = max([window + reach, *(lost_at(known, n, reach) for n in near if n in higher)])
        higher.add(window)
    settled = [known.get(n, lost_at(known, n, reach)) for n in range(len(scores))]
    return [min(max(settled[: n + 1]) + half, len(scores) - 1) for n in range(len(scores))]


def lost_at(known: dict[int, int], window: int, reach: int) -> int:
    """When the first detection near a window is known."""
    return min((at for one, at in known.items() if abs(one - window) <= reach), default=0)


def plainly(probabilities: np.ndarray, script: list[Utterance], clip: int, threshold: float):
    """The rule as docs/evaluation.md has it, one sentence after the other, for one threshold.

    Returns whether each word is missed, whether it is wrong, when each right one is reported after its end (in frames;
    none: not a number), and kind and source of each false alarm, sorted.
    """
    step, count = STEPS[clip]
    half = count // 2
    padded = np.pad(probabilities, ((half, half), (0, 0)), mode="edge")
    scores = np.stack([padded[n : n + count].mean(axis=0) for n in range(len(probabilities))])[:, :2]
    detected = []
    for window in sorted(range(len(scores)), key=lambda n: (-scores[n].max(), n)):  # the highest first
        if 0 < float(scores[window].max()) >= threshold and all(abs(window - n) * step >= clip for n, _ in detected):
            detected.append((window, int(scores[window].argmax())))

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
    reported = plainly_reported(scores.max(axis=1), -(-clip // step) - 1, half)
    missed, wrong, delays = [], [], []
    for place, there in reactions.items():
        right = [window for word, window in there if word == script[place].word]
        missed.append(not right)
        wrong.append(missed[-1] and len(there) > 0)
        best = max(right, key=lambda window: scores[window].max(), default=None)
        delays.append(math.nan if best is None else reported[best] * step + clip - script[place].end)
        false += [("word", script[place].speaker)] * (len(there) - 1)
    return missed, wrong, delays, sorted(false)


def test_on_random_scripts_and_scores_the_plain_definition_says_the_same():
    rng = np.random.default_rng(1)
    for _ in range(10_000):
        clip = int(rng.choice([*STEPS]))
        step, _ = STEPS[clip]
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
        outcome = simulate({"random": random}, [stretch], front_end=front_end, words=[0, 1])["random"]
        threshold = float(rng.choice([0.0, 0.25, 0.45, 0.6, 0.75, 1.0]))
        missed, wrong, delays, false = plainly(probabilities, script, clip, threshold)
        said = [one for one in script if one.word is not None]
        assert outcome.clips.tolist() == [one.clip for one in said]
        assert outcome.speakers.tolist() == [one.speaker for one in said]
        assert outcome.missed(threshold).tolist() == missed
        assert outcome.taken_for_another(threshold).tolist() == wrong
        right = ~outcome.missed(threshold)
        assert outcome.delays[right].tolist() == np.array(delays)[right].tolist()
        alarms = outcome.false_scores >= threshold
        assert sorted(zip(outcome.kinds[alarms], outcome.sources[alarms], strict=True)) == false


def test_a_stream_is_read_as_it_was_written(tmp_path):
    outcome = run(knows_half_words, clips_of(["low"]), clips_of(["middle"]), minutes=1)
    write_stream(tmp_path / "stream.npz", outcome, 0.7)
    read, threshold = read_stream(tmp_path / "stream.npz")
    assert threshold == 0.7
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
