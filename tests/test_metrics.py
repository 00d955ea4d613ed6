import tracemalloc

import numpy as np
import pytest
import scipy.stats

from kws.evaluate import metrics
from kws.recordings.background import NOBODY


def wilson(right: int, clips: int) -> tuple[float, float]:
    """The interval of Wilson (1927), which takes all clips as independent."""
    found = scipy.stats.binomtest(right, clips).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def test_the_wilson_interval_is_the_published_one():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, without continuity correction.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_clips_of_one_voice_that_fail_together_widen_the_interval():
    together = np.repeat([True, True, True, False], 100)
    low, high = metrics.share_interval(together, np.repeat(["a", "b", "c", "d"], 100))
    one_each_low, one_each_high = metrics.share_interval(together, np.arange(400))
    assert high - low > 5 * (one_each_high - one_each_low)
    assert low < 0.4


def test_if_every_clip_is_of_another_person_the_interval_is_wilsons():
    correct = np.arange(1000) % 10 > 0
    assert metrics.share_interval(correct, np.arange(1000)) == pytest.approx(wilson(900, 1000))
    assert metrics.share_interval(np.array([], bool), np.array([])) == (0, 1)


def test_repeats_of_a_clip_in_a_stream_are_no_new_clips():
    """E4: 18 clips in two hours, three always missed."""
    clips = np.tile(np.arange(18), 70)
    missed = clips < 3
    assert wilson(int(missed.sum()), len(missed)) == pytest.approx((0.147, 0.188), abs=2e-3)
    assert metrics.share_interval(missed, clips, clips) == pytest.approx((0.058, 0.392), abs=1e-3)
    low, high = metrics.share_interval(missed, clips % 6, clips)  # of six people, three of them with such a clip
    assert low < 0.07
    assert high > 0.39


def test_repeats_that_differ_by_chance_alone_tell_more_than_one_time_would():
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(200), 20)
    low, high = metrics.share_interval(rng.random(4000) < 0.2, clips, clips)
    assert high - low < 0.04
    low, high = metrics.share_interval((rng.random(200) < 0.2)[clips], clips, clips)
    assert high - low > 0.09


def test_three_people_who_are_always_understood_do_not_prove_that_everybody_is():
    low, high = metrics.share_interval(np.ones(150, bool), np.repeat(["ada", "bob", "cy"], 50))
    assert 0.7 < low < 0.9
    assert high == 1
    low, high = metrics.share_interval(np.zeros(150, bool), np.repeat(["ada", "bob", "cy"], 50))
    assert low == 0
    assert 0.1 < high < 0.3


def test_silence_that_kws_made_is_no_crowd_of_people():
    """Five people and 40 silent clips, which as people would outvote the five."""
    right = np.array([40, 40, 38, 36, 26])
    correct, people = (np.arange(40) < right[:, None]).ravel(), np.repeat([*"abcde"], 40)
    silent, nobodies = np.ones(40, bool), np.array([f"{NOBODY}_silence_/test-{n:05d}" for n in range(40)])
    spoken = metrics.share_interval(correct, people)
    quiet = metrics.share_interval(silent, np.arange(40))
    low, high = metrics.share_interval(np.append(correct, silent), np.append(people, nobodies))
    parts = (200 / 240, 40 / 240)
    middle = parts[0] * 0.9 + parts[1]
    assert middle - low == pytest.approx(np.hypot(parts[0] * (0.9 - spoken.low), parts[1] * (1 - quiet.low)))
    assert high - middle == pytest.approx(parts[0] * (spoken.high - 0.9))  # silence can do no better
    crowd_low, crowd_high = metrics.share_interval(np.append(correct, silent), np.append(people, np.arange(40)))
    assert high - low > 1.2 * (crowd_high - crowd_low)
    assert metrics.share_interval(silent, nobodies) == quiet  # a fold may hold silence alone


def test_silence_tells_nothing_of_how_two_networks_differ_for_people():
    first, second = np.repeat([False, True, True], 40), np.repeat([True, True, False], 40)
    people = np.repeat([*"abc"], 40)
    alone = metrics.accuracy_difference(first, second, people).interval
    silent = np.ones(120, bool)
    nobodies = np.array([f"{NOBODY}{n}" for n in range(120)])
    joined = metrics.accuracy_difference(
        np.append(first, silent), np.append(second, silent), np.append(people, nobodies)
    ).interval
    assert joined == pytest.approx((alone.low / 2, alone.high / 2), abs=0.01)


def test_repeats_of_a_clip_tell_no_more_of_a_difference():
    """E4 again: six people with a clip each, seventy times; on two of them the networks differ, one way each."""
    clips = np.repeat(np.arange(6), 70)
    first, second = clips != 0, clips != 1
    once = metrics.accuracy_difference(np.arange(6) != 0, np.arange(6) != 1, np.arange(6)).interval
    known = metrics.accuracy_difference(first, second, clips, clips).interval
    assert known == pytest.approx(once, abs=1e-6)
    assert known.low < -0.3 < 0.3 < known.high
    rng = np.random.default_rng(1)
    held, held_without = 0, 0
    for _ in range(100):
        differ, wins = rng.random(6) < 0.3, rng.random(6) < 0.5
        first, second = np.where(differ, ~wins, True)[clips], np.where(differ, wins, True)[clips]
        low, high = metrics.accuracy_difference(first, second, clips, clips).interval
        held += low <= 0 <= high
        low, high = metrics.accuracy_difference(first, second, clips).interval
        held_without += low <= 0 <= high
    assert held >= 92
    assert held_without < 90


@pytest.mark.parametrize(("people", "correlation", "mean"), [(5, 0.3, 0.9), (30, 0.1, 0.95), (100, 0.3, 0.6)])
def test_the_interval_holds_the_accuracy_of_all_people_about_95_times_in_a_hundred(people, correlation, mean):
    """E12: the interval that takes all clips as independent holds it far too rarely."""
    rng = np.random.default_rng(1)
    strength = (1 - correlation) / correlation
    held, held_by_wilson = 0, 0
    for _ in range(200):
        person = np.repeat(np.arange(people), rng.integers(1, 40, size=people))
        correct = rng.random(len(person)) < rng.beta(mean * strength, (1 - mean) * strength, size=people)[person]
        low, high = metrics.share_interval(correct, person)
        held += low <= mean <= high
        low, high = wilson(int(correct.sum()), len(correct))
        held_by_wilson += low <= mean <= high
    assert 0.92 <= held / 200 <= 0.99
    assert held_by_wilson / 200 < 0.8


def test_the_memory_of_an_interval_does_not_grow_with_people():
    """100,000 clips of 20,000 people: an array of draws times people would take 320 MB."""
    rng = np.random.default_rng(0)
    correct, people = rng.random(100_000) < 0.95, rng.integers(20_000, size=100_000)
    tracemalloc.start()
    low, high = metrics.share_interval(correct, people)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.947 < low < 0.95 < high < 0.953
    assert peak < 40e6


def test_cross_entropy_is_the_mean_surprise():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
    assert metrics.cross_entropy(probabilities, np.array([0, 0])) == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_a_word_given_no_chance_at_all_does_not_make_the_loss_infinite():
    assert np.isfinite(metrics.cross_entropy(np.array([[0.0, 1.0]], np.float32), np.array([0])))


def test_confusion_counts_actual_in_rows_and_predicted_in_columns():
    matrix = metrics.confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_word_scores_of_a_case_done_by_hand():
    scores = metrics.word_scores(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), 3)
    assert scores["precision"] == pytest.approx([1, 1 / 3, 0])
    assert scores["recall"] == pytest.approx([1 / 2, 1, 0])
    assert scores["f1"] == pytest.approx([2 / 3, 1 / 2, 0])
    assert scores["clips"].tolist() == [2, 1, 1]


def test_of_one_person_nothing_follows_for_others():
    assert metrics.share_interval(np.array([True, False]), np.array(["a", "a"])) == (0.0, 1.0)


def test_the_interval_of_a_rate_is_garwoods_if_all_sources_differ():
    # Garwood (1936): of 0, 1 and 10 events
    assert metrics.rate_interval(np.array([], str), 1) == pytest.approx((0, 3.689), abs=1e-3)
    assert metrics.rate_interval(np.arange(1), 1) == pytest.approx((0.0253, 5.572), abs=1e-3)
    assert metrics.rate_interval(np.arange(10), 2) == pytest.approx((4.795 / 2, 18.39 / 2), abs=1e-2)


def test_ten_false_alarms_of_one_source_tell_less_than_ten_of_ten():
    low, high = metrics.rate_interval(np.array(["fan"] * 10), 1)
    assert (low, high) == pytest.approx((10 * 0.0253, 10 * 5.572), abs=2e-2)  # one event, ten times as heavy


def test_several_networks_that_hear_the_same_hours_do_not_make_them_more():
    none = np.array([], str)
    assert metrics.rate_interval(none, 2, networks=3) == metrics.rate_interval(none, 2)
    once, thrice = np.array(["ada", "bob"]), np.repeat(["ada", "bob"], 3)  # each network, by the same sources
    assert metrics.rate_interval(thrice, 2, networks=3) == pytest.approx(metrics.rate_interval(once, 2))


def outcomes(*shares: float) -> list[metrics.Outcomes]:
    """What became of 1,000 clips of 500 people, with one seed each."""
    people = np.arange(1000) % 500
    return [metrics.Outcomes(np.arange(1000) < 1000 * share, people, np.arange(1000)) for share in shares]


def test_the_spread_between_seeds_is_in_the_interval_of_their_mean():
    """E5: missed words of three seeds in the README; the mean of their intervals was [15.1, 17.6]."""
    low, high = metrics.seeds_interval(outcomes(0.194, 0.176, 0.119))
    reach = 4.303 * np.std([0.194, 0.176, 0.119], ddof=1) / 3**0.5  # the t-interval over seeds
    assert low == pytest.approx(0.163 - reach, abs=1e-4)  # 6.6 %
    assert high == pytest.approx(0.163 + reach, abs=1e-4)  # 26.0 %


def test_seeds_that_agree_leave_the_interval_of_the_people():
    [one] = outcomes(0.1)
    alone = metrics.seeds_interval([one])
    assert alone == metrics.share_interval(one.correct, one.people, one.clips)
    assert metrics.seeds_interval(outcomes(0.1, 0.1, 0.1)) == pytest.approx(alone, abs=1e-3)
    low, high = metrics.seeds_interval(outcomes(0.9, 1.0))
    assert (low, high) == (pytest.approx(0.32, abs=0.02), 1)  # a share is at most 1
    assert metrics.over_seeds(metrics.Interval(1, 3), [2, 2]) == (1, 3)
    assert metrics.over_seeds(metrics.Interval(0, 3), [0.5, 1.5]).low == 0  # no rate is below 0
    assert metrics.over_seeds(metrics.Interval(0.8, 0.98), [0.9, 0.96], highest=1).high == 1
    low, high = metrics.over_seeds(metrics.Interval(1, 4), [2.5, 3.0, 3.5])  # people and seeds, both of weight
    assert (3 - low, high - 3) == pytest.approx((np.hypot(2, 1.96 * 0.2887), 4.303 * 0.2887), abs=1e-3)


def test_calibration_compares_confidence_with_accuracy_bin_by_bin():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    rows = metrics.calibration(confidence, correct)
    assert [(row["clips"], row["accuracy"]) for row in rows] == [(2, 0.5), (4, 0.75)]
    assert metrics.calibration_error(rows) == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)
    assert metrics.calibration(np.array([1.0]), np.array([True])) == [{"confidence": 1.0, "accuracy": 1.0, "clips": 1}]


def test_the_speakers_understood_worst_and_best_are_a_tenth_each():
    speakers = np.repeat([f"{n}" for n in range(20)], 4)
    correct = np.ones(80, bool)
    correct[:4] = False  # speaker 0 never, speaker 1 half of the time
    correct[4:6] = False
    assert metrics.speaker_spread(correct, speakers) == (0.25, 1.0)
    assert metrics.speaker_spread(np.array([True, False]), np.array(["a", "a"])) == (0.5, 0.5)


def test_speakers_of_a_clip_or_two_are_neither_worst_nor_best():
    speakers = np.array(["often"] * 10 + ["now and then"] * 5 + ["once"])
    correct = np.array([True] * 8 + [False] * 2 + [True] * 3 + [False] * 2 + [False])
    assert metrics.speaker_spread(correct, speakers) == (0.6, 0.8)


def test_a_paired_test_sees_what_two_intervals_do_not():
    rng = np.random.default_rng(0)
    first = rng.uniform(size=2000) < 0.9
    second = first.copy()
    second[np.flatnonzero(~first)[:30]] = True
    speakers = np.arange(2000) % 100
    test = metrics.accuracy_difference(first, second, speakers)
    assert (test.only_first, test.only_second) == (0, 30)
    assert test.accuracy == pytest.approx(0.015)
    assert 0 < test.interval.low < 0.015 < test.interval.high
    assert test.p_value == pytest.approx(2 * 0.5**30)
    same = metrics.accuracy_difference(first, first, speakers)
    alone = metrics.accuracy_difference(first, second, np.zeros(2000))
    assert alone.interval == (-1, 1)  # of one speaker nothing follows for others
    assert (same.accuracy, same.p_value) == (0, 1)
    assert same.interval == pytest.approx((0, 0), abs=0.003)  # but not (0, 0): other clips may differ
    assert same.interval.low < 0 < same.interval.high


@pytest.mark.parametrize(
    ("interval", "p_value", "beyond"),
    [((0.025, 0.1), 0.25, False), ((-0.01, 0.1), 0.01, False), ((0.01, 0.1), 0.01, True)],
)
def test_few_speakers_with_a_clip_more_each_are_no_better_network(interval, p_value, beyond):
    assert metrics.Difference(0.05, metrics.Interval(*interval), 0, 3, p_value).better == beyond


def test_a_difference_is_told_in_points_and_an_interval_beside_its_figure():
    interval = metrics.Interval(-0.004, 0.1)
    assert str(metrics.Difference(0.05, interval, 0, 3, 0.25)) == "+5.00 points, 95 % interval -0.40 to +10.00"
    assert interval.figures("recall") == {"recall_low": -0.004, "recall_high": 0.1}
