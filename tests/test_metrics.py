import numpy as np
import pytest

from kws import metrics


def test_the_wilson_interval_is_the_published_one():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, without continuity correction.
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
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
