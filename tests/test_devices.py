"""What becomes of a stream with the file of a word on a device, and how cutoffs are chosen."""

import re

import numpy as np
import pytest
from conftest import make_front_end

from kws.evaluate.devices import CUTOFFS, SIZES, DeviceStream, float_scores, hear, lines, score_word
from kws.evaluate.stream import HeardStretch, Stretch, Utterance
from kws.spotting.device_rule import detections

FRONT_END = make_front_end(16_000, 16_000, 480, 160, 512, 40, 125.0, 7500.0, 1e-6, kind="micro")
STEP = 3
INFERENCES = 6000 // STEP  # of a minute
WORD, OTHER = 1, 0


def at(second: float) -> int:
    """The inference that ends at this second."""
    return round((second - 0.03) * 100 / STEP)


def said(second: float, word: int | None = WORD, speaker: str = "ada", clip: str = "1") -> Utterance:
    return Utterance(second, second + 0.6, word, speaker, clip)


def heard(script, *bursts) -> HeardStretch:
    """A minute whose scores are low, except in bursts: the second that they end, their height."""
    scores = np.full(INFERENCES, 3, np.uint8)
    for second, height in bursts:
        scores[at(second) : at(second) + 8] = height
    return HeardStretch(scores, script, "rain")


def stream_of(*stretches) -> DeviceStream:
    return DeviceStream(stretches, WORD, STEP, FRONT_END)


def test_words_are_heard_missed_or_false_under_the_rule_of_the_device():
    script = [said(10), said(20, speaker="bob"), said(30, None, "eve")]
    outcome = stream_of(heard(script, (10.5, 250), (30.4, 240), (50.0, 230))).at(cutoff=200, size=5)
    assert outcome.missed.tolist() == [False, True]
    assert outcome.speakers.tolist() == ["ada", "bob"]
    [delay, none] = outcome.delays
    assert np.isnan(none)
    [first, *_] = detections(heard(script, (10.5, 250)).scores, step=STEP, cutoff=200, size=5)
    assert delay == pytest.approx(first * 0.01 + 0.03 - 10.6)
    assert 0 < delay < 0.2
    assert outcome.kinds.tolist() == ["speech", "background"]
    assert outcome.sources.tolist() == ["eve", "rain"]
    assert outcome.hours == pytest.approx(1 / 60)
    assert stream_of(heard(script, (30.4, 240))).at(cutoff=245, size=5).alarms().tolist() == []


def test_each_stretch_starts_with_the_device_which_hears_nothing_in_its_first_second():
    outcome = stream_of(heard([], (0.5, 250)), heard([], (0.5, 250), (1.5, 250))).at(cutoff=200, size=2)
    assert len(outcome.alarms()) == 1
    assert outcome.hours == pytest.approx(2 / 60)


def test_the_cutoff_is_the_lowest_from_which_on_all_keep_the_rate():
    stream = stream_of(*[heard([], (20, 180), (40, 120))] * 3)
    chosen = stream.cutoffs({"none": 0.0, "three": 60.0, "six": 120.0}, size=2)
    assert chosen == {"none": 180, "three": 120, "six": min(CUTOFFS)}
    assert len(stream.at(119, 2).alarms()) == 6
    assert len(stream.at(120, 2).alarms()) == 3
    assert len(stream.at(179, 2).alarms()) == 3
    assert len(stream.at(180, 2).alarms()) == 0


def test_of_cutoffs_that_keep_the_rate_it_is_one_with_the_fewest_missed_words():
    loud = heard([said(10)], (10.6, 250))
    loud.scores[loud.scores == 3] = 60  # with a cutoff of 60 and less, the device waits for ever
    assert stream_of(loud).cutoffs({"none": 0.0}, size=2) == {"none": 61}
    assert stream_of(loud).at(60, 2).missed.tolist() == [True]


def test_no_cutoff_keeps_the_rate_of_a_device_that_is_always_sure():
    stretch = heard([], (20, 255))
    stretch.scores[at(20) : at(21)] = 255
    sure = stream_of(stretch)
    assert sure.cutoffs({"none": 0.0}, size=1) == {"none": 254}
    figures = score_word((sure, sure), (sure, sure), false_alarms_an_hour=1.0)
    assert figures["balanced_rate_not_kept"] == 1
    assert figures["balanced_too_short"] == 1
    assert "few_misses_rate_not_kept" in figures
    assert figures["words"] == 0


def test_the_score_of_float_is_the_share_of_the_word_and_the_likeliest_other():
    probabilities = np.array([[0.2, 0.6, 0.2], [0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    assert float_scores(probabilities, WORD).tolist() == [192, 85, 255, 0]
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(np.delete(logits, 2, axis=1).max(axis=1) - logits[:, 2]))
    assert np.abs(float_scores(softmax, 2) - sigmoid * 256).max() <= 0.51


class Answers:
    """Stands for a network: the same answer at each step."""

    step = STEP

    def __init__(self, answer):
        self._answer = answer

    def hear(self, features):
        return np.repeat([self._answer], len(features) // STEP, axis=0)


def test_other_words_are_other_speech_to_the_file_of_a_word():
    script = [said(10, WORD), said(20, OTHER, "bob"), said(30, None, "eve")]
    features = np.zeros((300, 40), np.float32)
    files = {WORD: Answers(np.array([7], np.uint8)), OTHER: Answers(np.array([9], np.uint8))}
    both = hear(files, Answers(np.array([0.5, 0.5], np.float32)), [Stretch(features, script, "rain")] * 2, FRONT_END)
    of_word, of_other = both[WORD], both[OTHER]
    assert [one.word for one in of_word[0].stretches[0].script] == [WORD, None, None]
    assert [one.word for one in of_other[0].stretches[1].script] == [None, OTHER, None]
    assert of_word[0].stretches[0].scores.tolist() == [7] * 100
    assert of_word[1].stretches[0].scores.tolist() == [128] * 100
    assert of_other[0].stretches[0].scores.tolist() == [9] * 100


def test_validation_chooses_the_size_that_misses_fewest_then_tells_earliest():
    # short words are lost where many scores are averaged; single high scores in background forbid few
    script = [said(10), said(20, speaker="bob"), said(40, speaker="eve")]
    stretch = heard(script, (10.5, 200), (20.5, 200), (40.5, 200))
    stretch.scores[at(30)] = 250
    validation = stream_of(*[stretch] * 3)
    figures = score_word((validation, validation), (validation, validation), false_alarms_an_hour=20.0)
    assert figures["missed"] == 0
    by_size = {size: validation.cutoffs({"balanced": 20.0}, size)["balanced"] for size in SIZES}
    heard_all = [size for size, cutoff in by_size.items() if not validation.at(cutoff, size).missed.any()]
    assert 1 not in heard_all
    delays = {size: np.median(validation.at(by_size[size], size).delays) for size in heard_all}
    assert figures["size"] == min(delays, key=delays.get)
    assert figures["hours"] == 0.05
    assert figures["step_frames"] == STEP


def test_a_size_that_keeps_the_rate_comes_before_one_that_misses_fewer():
    # the word is held as long as other speech is high: only the mean of many scores tells them apart
    stretch = heard([said(10), said(40, None)])
    stretch.scores[at(10.3) : at(10.7)] = 255
    stretch.scores[at(40.3) : at(40.45)] = 255
    validation = stream_of(stretch)
    figures = score_word((validation, validation), (validation, validation), false_alarms_an_hour=1.0)
    assert figures["size"] > 5
    assert (figures["missed"], figures["false_alarms_an_hour"]) == (0, 0)
    assert "balanced_rate_not_kept" not in figures


def test_figures_are_of_test_at_the_cutoff_that_validation_chose():
    validation = stream_of(*[heard([said(10)], (10.6, 250), (30, 100))] * 4)
    test = stream_of(*[heard([said(10), said(20, speaker="bob", clip="2")], (10.6, 250), (20.6, 90), (50, 240))] * 4)
    float32 = stream_of(*[heard([said(10), said(20, speaker="bob", clip="2")], (10.6, 250), (20.6, 250))] * 4)
    figures = score_word((validation, validation), (test, float32), false_alarms_an_hour=45.0)
    assert 99 <= figures["cutoff"] * 255 <= 101
    assert figures["words"] == 8
    assert figures["missed"] == 0.5
    assert figures["missed_low"] < 0.5 < figures["missed_high"]
    assert figures["false_alarms_an_hour"] == 60
    assert figures["float32_missed"] == 0
    assert figures["float32_false_alarms_an_hour"] == 0
    assert figures["lost"] == 0  # in validation
    assert 0 < figures["delay_seconds"] < 0.3
    assert figures["within_300_ms"] == 0.5  # of all words, and half are missed
    assert figures["balanced_validation_false_alarms_an_hour"] == 0
    assert figures["balanced_test_false_alarms_an_hour"] == 60
    assert figures["few_misses_cutoff"] <= figures["balanced_cutoff"] <= figures["few_false_alarms_cutoff"]
    assert figures["balanced_cutoff"] == figures["cutoff"]
    assert figures["few_false_alarms_too_short"] == 1
    assert "few_misses_too_short" not in figures
    assert figures["differs_by"] == 0


def test_what_8_bits_lose_is_measured_in_validation_where_float_has_a_cutoff_of_its_own():
    words = [said(10), said(20, speaker="bob", clip="2")]
    int8 = stream_of(*[heard(words, (10.6, 250), (20.6, 90), (30, 100))] * 4)
    float32 = stream_of(*[heard(words, (10.6, 250), (20.6, 250), (30, 200))] * 4)
    figures = score_word((int8, float32), (float32, float32), false_alarms_an_hour=45.0)
    assert figures["cutoff"] * 255 < 200  # where float would have a false alarm a minute
    assert figures["lost"] == 0.5
    assert figures["lost_low"] < 0.5 < figures["lost_high"]
    assert figures["missed"] == 0
    assert figures["float32_false_alarms_an_hour"] == 0
    # of each three groups of scores one differs by 160/256, one by 100/256
    assert figures["differs_by"] == pytest.approx((160 + 100) / 3 / 256, abs=0.02)


def test_a_line_tells_each_word():
    script = [said(10)]
    stream = stream_of(*[heard(script, (10.6, 250))] * 6)
    figures = score_word((stream, stream), (stream, stream), false_alarms_an_hour=1.0)
    [line] = lines({"yes": figures})
    assert line.startswith("yes on a device with ESPHome, in 0.1 h: 0.0 false alarms an hour, 95 % interval 0.0 to ")
    assert "missed words 0.0%" in line
    assert re.search(
        r", \d+\.\d% of all told within 0\.3 s of their end; median of those that are heard \d\.\d\d s; the streams "
        r"are too short to tell this rate$",
        line,
    )
    nothing = stream_of(heard([]))
    [line] = lines({"yes": score_word((nothing, nothing), (nothing, nothing), false_alarms_an_hour=1.0)})
    assert line.endswith("no word was said: too short; the streams are too short to tell this rate")
