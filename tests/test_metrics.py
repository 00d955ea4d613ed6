import numpy as np
import pytest

from kws.evaluate import metrics


def test_the_wilson_interval_is_the_published_one():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, without continuity correction.
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert metrics.wilson_interval(0, 0) == (0, 1)
    low, high = metrics.wilson_interval(0, 20)
    assert (low, high) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_clips_of_one_voice_that_fail_together_widen_the_interval():
    together = np.repeat([True, True, True, False], 100)
    speakers = np.repeat(["a", "b", "c", "d"], 100)
    low, high = metrics.speaker_interval(together, speakers, seed=1)
    one_each_low, one_each_high = metrics.speaker_interval(together, np.arange(400), seed=1)
    assert high - low > 5 * (one_each_high - one_each_low)
    assert metrics.speaker_interval(together, speakers, seed=1) == (low, high)


def test_with_one_clip_a_speaker_the_bootstrap_is_close_to_wilson():
    correct = np.arange(1000) % 10 > 0
    assert metrics.speaker_interval(correct, np.arange(1000), seed=0) == pytest.approx(
        metrics.wilson_interval(900, 1000), abs=0.005
    )


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


def test_of_one_speaker_nothing_follows_for_others():
    assert metrics.speaker_interval(np.array([True, False]), np.array(["a", "a"]), seed=1) == (0.0, 1.0)


def test_the_poisson_interval_is_the_published_one():
    # Garwood (1936): of 0, 1 and 10 events
    assert metrics.poisson_interval(0, 1) == pytest.approx((0, 3.689), abs=1e-3)
    assert metrics.poisson_interval(1, 1) == pytest.approx((0.0253, 5.572), abs=1e-3)
    assert metrics.poisson_interval(10, 2) == pytest.approx((4.795 / 2, 18.39 / 2), abs=1e-2)


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
    test = metrics.accuracy_difference(first, second, speakers, seed=0)
    assert (test.only_first, test.only_second) == (0, 30)
    assert test.accuracy == pytest.approx(0.015)
    assert 0 < test.interval.low < 0.015 < test.interval.high
    assert test.p_value == pytest.approx(2 * 0.5**30)
    same = metrics.accuracy_difference(first, first, speakers, seed=0)
    alone = metrics.accuracy_difference(first, second, np.zeros(2000), seed=0)
    assert alone.interval == (-1, 1)  # of one speaker nothing follows for others
    assert (same.accuracy, same.interval, same.p_value) == (0, (0, 0), 1)


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
