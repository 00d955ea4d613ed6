import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from conftest import make_front_end
from matplotlib.colors import to_rgb
from PIL import Image

from kws.audio import micro
from kws.audio.mel import mel_matrix
from kws.core.stage import voices_title
from kws.evaluate.stream_scores import KINDS
from kws.plots import figures
from kws.spotting.detect import SENSITIVITIES

FRONT_END = make_front_end(16_000, 16_000, 1024, 256, 1024, 80, 20.0, 7600.0, 1e-7)
TIME = np.arange(16_000) / 16_000
TONE = (0.5 * np.sin(2 * np.pi * 1000 * TIME)).astype(np.float32)  # 1 kHz
HISTORY = [
    {
        "epoch": n + 1,
        "train_loss": 1 / (n + 1),
        "train_accuracy": 0.1 * n,
        "validation_loss": loss,
        "validation_accuracy": 0.5,
    }
    for n, loss in enumerate((2.0, 1.0, 1.5))
]
NOISE = [
    {"snr_db": snr, "noise": noise, "accuracy": 0.9 - lost, "accuracy_low": 0.8 - lost, "accuracy_high": 0.95 - lost}
    for noise, more in (("all", 0), ("running_tap", 0.1))
    for snr, lost in ((20, 0.0 + more), (0, 0.3 + more))
]
DET = [
    {"false_alarms_an_hour": n / 2, "missed": 0.5 / (n + 1)} | {f"{kind}_false_alarms_an_hour": n / 6 for kind in KINDS}
    for n in range(5)
]
CONDITIONS = [
    {"condition": condition, "bin": name, "clips": 1234, "accuracy": accuracy}
    | {f"accuracy_{end}": accuracy + shift for end, shift in (("low", -0.1), ("high", 0.05))}
    for condition, bins in (
        ("level", ("below_-40dbfs", "above_-20dbfs")),
        ("snr", ("below_20db",)),
        ("speaker", ("1_clip",)),
    )
    for name, accuracy in zip(bins, (0.5, 0.9), strict=False)
]
SCORES = {
    "noise_clean_accuracy": 0.95,
    **{
        f"{name}_test_{figure}{bound}": factor * value
        for name, rarer in (("few_misses", 0.5), ("balanced", 1), ("few_false_alarms", 2))
        for figure, factor, values in (
            ("missed", rarer, (0.1, 0.05, 0.2)),
            ("false_alarms_an_hour", 1 / rarer, (0.5, 0.1, 1.8)),
        )
        for bound, value in zip(("", "_low", "_high"), values, strict=True)
    },
    "stream_hours": 4.0,
    "stream_words": 3600,
}
CURVE = [
    {"clips_a_class": clips, "accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.01}
    for clips, accuracy in ((50, 0.5), (100, 0.7), (500, 0.9), (1000, 0.93))
]
FOLDS = [
    {"fold": fold, "test_clips": clips, "accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": 1.0}
    for fold, clips, accuracy in (("1", 30, 0.9), ("2", 30, 0.8), ("3", 24, 0.95), ("all", 84, 0.88))
]

TRIALS = [
    {"trial": 1, "state": "whole", "validation_accuracy": 0.92, "width": 1.0, "causal": True},
    {"trial": 2, "state": "whole", "validation_accuracy": 0.9, "width": 0.5, "causal": False},
    {"trial": 3, "state": "failed", "validation_accuracy": "", "width": 4.0, "causal": True},
    {"trial": 4, "state": "stopped", "validation_accuracy": 0.5, "width": 2.0, "causal": False},
    {"trial": 5, "state": "whole", "validation_accuracy": 0.95, "width": 2.0, "causal": True},
]

SEEDS = [
    {"seed": seed, "accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.01}
    for seed, accuracy in ((1, 0.92), (2, 0.95), (3, 0.93), ("all", 0.933))
]


def law(clips):
    """As `make curve` fits it: accuracy, and the ends of its interval."""
    accuracy = 1 - 1.5 * clips**-0.45
    return np.stack([accuracy, accuracy - 0.02, accuracy + 0.01])


def clip_figure(title="yes"):
    return figures.clip_figure(TONE, FRONT_END, title)


LOG_MEL = FRONT_END.log_mel(TONE)
FIGURES = {
    "mel_matrix": lambda _: figures.mel_matrix_figure(FRONT_END.weights, FRONT_END.sample_rate),
    "clip": lambda synthetic: clip_figure(voices_title("yes", synthetic)),
    "mel_grid": lambda synthetic: figures.mel_grid_figure({"yes": LOG_MEL, "no": LOG_MEL - 1}, FRONT_END, synthetic),
    "curves": lambda synthetic: figures.curves_figure(HISTORY, 2, synthetic),
    "confusion": lambda synthetic: figures.confusion_figure(np.array([[3, 1], [0, 2]]), ["yes", "no"], synthetic),
    "confusions": lambda synthetic: figures.confusions_figure(
        [("A", np.array([[3, 1], [0, 2]]), ["yes", "no"]), ("B", np.eye(2, dtype=int), ["yes", "no"])], synthetic
    ),
    "accuracies": lambda synthetic: figures.accuracies_figure(
        {"validation": [(0.8, 0.7, 0.9), (0.9, 0.8, 0.95)]}, {"validation": (0.1, 0.02, 0.2)}, ("A", "B"), synthetic
    ),
    "conditions": lambda synthetic: figures.conditions_figure(CONDITIONS, 0.8, synthetic),
    "noise": lambda synthetic: figures.noise_figure(NOISE, SCORES, synthetic),
    "det": lambda synthetic: figures.det_figure(DET, SCORES, KINDS, SENSITIVITIES, synthetic),
    "folds": lambda synthetic: figures.folds_figure(FOLDS, synthetic),
    "data_curve": lambda synthetic: figures.data_curve_figure(CURVE, law, synthetic),
    "study": lambda synthetic: figures.study_figure(TRIALS, {"width": "log", "causal": "linear"}, synthetic),
    "importance": lambda synthetic: figures.importance_figure({"width": 0.75, "causal": 0.25}, synthetic),
    "seeds": lambda synthetic: figures.seeds_figure(SEEDS, {"accuracy": "test accuracy"}, synthetic),
}


def make_figure(name, synthetic=False):
    return FIGURES[name](synthetic)


def texts_of(figure):
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return " ".join(titles)


@pytest.mark.parametrize("name", FIGURES)
def test_the_bytes_of_a_picture_repeat_and_name_no_version(name, tmp_path):
    for path in (tmp_path / "1.png", tmp_path / "2.png"):
        figures.save_figure(make_figure(name), path)
    content = (tmp_path / "1.png").read_bytes()
    assert content == (tmp_path / "2.png").read_bytes()
    assert b"Software" not in content
    assert len(content) < 500_000


def test_a_matplotlibrc_of_the_users_changes_nothing(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    code = "from pathlib import Path; from kws.plots import figures; import numpy as np; "
    code += "figures.save_figure(figures.confusion_figure(np.eye(2, dtype=int), ['a', 'b']), Path('theirs.png'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    figures.save_figure(figures.confusion_figure(np.eye(2, dtype=int), ["a", "b"]), tmp_path / "ours.png")
    assert (tmp_path / "theirs.png").read_bytes() == (tmp_path / "ours.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("mel_matrix", {"frequency (kHz)", "Mel bin", "weight"}),
        (
            "clip",
            {"time (s)", "frequency (kHz)", "Mel bin", "power (dB)", "ln(Mel power)", "amplitude\n(1 = full scale)"},
        ),
        ("mel_grid", {"time (s)", "Mel bin", "ln(Mel power)"}),
        ("curves", {"epoch", "loss (nats)", "accuracy"}),
        ("confusion", {"predicted word", "actual word", "share of the word's clips"}),
        ("confusions", {"predicted word", "actual word", "share of the word's clips"}),
        ("accuracies", {"share of the clips that is right", "B minus A (points)"}),
        ("conditions", {"accuracy"}),
        ("noise", {"signal-to-noise ratio (dB)", "accuracy"}),
        ("det", {"false alarms an hour", "missed words"}),
        ("folds", {"fold", "accuracy on its test clips"}),
        ("data_curve", {"training clips of each class", "accuracy on the validation clips"}),
        ("seeds", {"seed"}),
        ("study", {"trial", "validation accuracy", "width", "causal"}),
        ("importance", {"share of the variance of validation accuracy"}),
    ],
)
def test_axes_are_labelled_with_their_units(name, labels):
    axes = make_figure(name).axes
    assert {label for one in axes for label in (one.get_xlabel(), one.get_ylabel())} - {""} == labels


@pytest.mark.parametrize(
    "name",
    [
        *("clip", "mel_grid", "curves", "confusion", "confusions", "accuracies"),
        *("conditions", "noise", "det", "data_curve", "study"),
    ],
)
def test_what_comes_from_synthetic_voices_says_so_in_its_title(name):
    assert "synthetic voices" in texts_of(make_figure(name, synthetic=True))
    assert "synthetic" not in texts_of(make_figure(name, synthetic=False))


def test_the_best_trial_so_far_is_a_whole_one_and_trials_that_failed_are_not_drawn():
    first, width, causal = make_figure("study").axes
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in first.get_lines()}
    assert drawn == {
        "trained to the end": ([1, 2, 5], [0.92, 0.9, 0.95]),
        "best so far": ([1, 2, 5], [0.92, 0.92, 0.95]),
        "stopped early": ([4], [0.5]),
    }
    assert width.get_xscale() == "log"
    assert [list(line.get_xdata()) for line in width.get_lines()] == [[1.0, 0.5, 2.0], [2.0]]
    assert {tick.get_text() for tick in causal.get_xticklabels()} == {"True", "False"}


def brightest_height(axes):
    """Where the brightest row of an image is, from 0 (bottom of the picture) to 1 (top)."""
    image = axes.get_images()[0]
    values = np.asarray(image.get_array()).mean(axis=1)
    left, _, bottom, top = image.get_extent()
    row = values.argmax() if image.origin == "lower" else len(values) - 1 - values.argmax()
    height = bottom + (row + 0.5) / len(values) * (top - bottom)
    return axes.transAxes.inverted().transform(axes.transData.transform((left, height)))[1]


def test_low_frequencies_are_at_the_bottom():
    _, spectrum, mel = clip_figure().axes[:3]
    assert brightest_height(spectrum) == pytest.approx(1 / 8, abs=0.01)  # 1 kHz of 8
    peak = mel_matrix(16_000, 1024, 80, 20.0, 7600.0)[64].argmax()  # the bin at 1 kHz
    assert brightest_height(mel) == pytest.approx((peak + 0.5) / 80, abs=0.001)
    filters = figures.mel_matrix_figure(FRONT_END.weights, 16_000).axes[0]
    assert filters.get_images()[0].origin == "lower"
    assert filters.get_ylim()[0] < filters.get_ylim()[1]


def test_a_click_stands_at_its_time_in_all_three_panels():
    click = np.zeros(16_000, np.float32)
    click[12_000] = 1  # 0.75 s
    figure = figures.clip_figure(click, FRONT_END, "click")
    for axes in figure.axes[1:3]:
        image = axes.get_images()[0]
        left, right, _, _ = image.get_extent()
        loudness = np.asarray(image.get_array()).max(axis=0)
        time = left + (loudness.argmax() + 0.5) / len(loudness) * (right - left)
        assert time == pytest.approx(0.75, abs=128 / 16_000)
        assert axes.get_xlim() == figure.axes[0].get_xlim() == (0, 1)


def test_all_samples_of_the_grid_share_one_colour_scale():
    log_mel = FRONT_END.log_mel(TONE)
    figure = figures.mel_grid_figure({"a": log_mel, "b": log_mel - 3, "c": log_mel + 2}, FRONT_END)
    limits = {image.get_clim() for axes in figure.axes[:3] for image in axes.get_images()}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((log_mel.min() - 3, log_mel.max() + 2))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a", "b", "c"]


def test_pictures_of_the_micro_front_end_show_its_features_and_say_so():
    front_end = make_front_end(16_000, 16_000, *list(micro.SETTINGS.values())[1:], 1e-6, kind="micro")
    hiss = np.random.default_rng(0).normal(scale=0.01, size=16_000).astype(np.float32)
    clip = figures.clip_figure(hiss + TONE, front_end, "yes")
    *_, axes = clip.axes[:3]
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), front_end.clip_log_mel(hiss + TONE).T)
    assert axes.get_title() == "Micro front end's spectrogram, what the network sees"
    assert clip.axes[-1].get_ylabel() == "feature, 0 to 26"
    grid = figures.mel_grid_figure({"yes": front_end.clip_log_mel(hiss)}, front_end)
    assert "Micro front end's spectrograms" in texts_of(grid)
    assert grid.axes[-1].get_ylabel() == "feature, 0 to 26"


def test_the_epoch_whose_weights_are_kept_is_marked():
    for axes in figures.curves_figure(HISTORY, 2).axes:
        mark = next(line for line in axes.lines if line.get_label() == "weights kept: epoch 2")
        assert list(mark.get_xdata()) == [2, 2]


def test_one_epoch_is_a_picture_too(tmp_path):
    figure = figures.curves_figure(HISTORY[:1], 1)
    for axes in figure.axes:
        mark = next(line for line in axes.lines if line.get_label() == "weights kept: epoch 1")
        assert list(mark.get_xdata()) == [1, 1]
        left, right = axes.get_xlim()
        assert left < 1 < right
    figures.save_figure(figure, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size > (100, 100)
        assert len(picture.getcolors(picture.width * picture.height)) > 10


def test_two_confusion_matrices_show_the_words_that_the_second_network_knows_worst():
    words = [f"word{n}" for n in range(40)]
    first, second = np.diag(np.full(40, 10)), np.diag(np.full(40, 10))
    second[range(10, 40), range(10, 40)] -= 1
    second[range(10, 40), 0] += 1
    first[35, 36] = 3
    few = ["word35", "word36", "else"]
    figure = figures.confusions_figure([("A", first[35:38, 35:38], few), ("B", second, words)])
    assert figure.get_suptitle() == "Validation clips; the 30 of 40 words with the lowest recall of B"
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_images()}
    assert list(panels) == ["A: 90.9% of 33 clips are right", "B: 92.5% of 400 clips are right"]
    shown = [[label.get_text() for label in axes.get_yticklabels()] for axes in panels.values()]
    assert shown == [few, words[10:]]


def test_a_difference_that_is_not_known_is_said_to_be_not_compared():
    accuracies = {"validation": [(0.8, 0.7, 0.9)] * 2, "test": [(0.5, 0.4, 0.6)] * 2}
    left, right = figures.accuracies_figure(accuracies, {"test": (0, -0.1, 0.1)}, ("A", "B")).axes
    assert [text.get_text() for text in right.texts] == ["not compared"]
    assert right.texts[0].get_position()[1] == left.get_yticks()[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["validation", "test"]


def test_the_confusion_matrix_has_its_counts_in_the_cells_and_recall_beside_them():
    figure = figures.confusion_figure(np.array([[7, 2, 1], [0, 5, 0], [0, 0, 0]]), ["yes", "no", "up"])
    axes = figure.axes[0]
    cells = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "7", (0, 1): "2", (0, 2): "1", (1, 1): "5"}  # (actual, predicted)
    np.testing.assert_allclose(axes.get_images()[0].get_array(), [[0.7, 0.2, 0.1], [0, 1, 0], [0, 0, 0]])
    assert axes.get_title() == "Test accuracy 80.0% on 15 clips"
    recall = axes.child_axes[0]
    assert [label.get_text() for label in recall.get_yticklabels()] == ["70% of 10", "100% of 5", "0% of 0"]


def test_of_many_words_those_with_the_lowest_recall_are_shown():
    matrix = np.diag(np.full(1000, 4))
    matrix[7, 7], matrix[7, 900], matrix[12, 12] = 1, 3, 0  # 25 %, and no clip
    figure = figures.confusion_figure(matrix, [f"word{n}" for n in range(1000)])
    axes = figure.axes[0]
    assert figure.get_figwidth() < 30
    assert axes.get_title() == (
        f"Test accuracy 99.9% on 3996 clips; the {figures.MOST_WORDS} of 1,000 words with the lowest recall"
    )
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"word{n}" for n in range(61) if n != 12]
    recall = axes.child_axes[0]
    assert recall.get_yticklabels()[7].get_text() == "25% of 4"


@pytest.mark.parametrize("words", [2, 10, 35])
def test_counts_fit_their_cells(words):
    matrix = np.full((words, words), 1234)
    figure = figures.confusion_figure(matrix, [f"word{n}" for n in range(words)])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / words
    assert max(text.get_window_extent().width for text in axes.texts) < cell


def test_words_differ_in_colour_or_marker():
    styles = [figures.word_style(index) for index in range(70)]
    assert len(set(styles)) == 70
    assert len({colour for colour, _ in styles[:10]}) == 10
    for one, other in pairwise(styles):
        assert one[0] != other[0]
        assert one[1] != other[1]


def test_words_of_similar_colour_for_the_colour_blind_have_different_markers():
    # red-green blindness, severity 1, linear RGB: Machado, Oliveira and Fernandes (2009), table 1
    blindness = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }
    styles = [figures.word_style(index) for index in range(10)]
    linear = np.array([to_rgb(colour) for colour, _ in styles]) ** 2.2
    for matrix in blindness.values():
        seen = (linear @ np.transpose(matrix)).clip(0, 1) ** (1 / 2.2)
        for i in range(10):
            for j in range(i):
                if np.abs(seen[i] - seen[j]).max() < 0.12:
                    assert styles[i][1] != styles[j][1], (styles[i], styles[j])


def test_each_condition_has_a_panel_in_which_every_bin_says_how_many_clips_it_holds():
    level, snr, length, speaker = make_figure("conditions").axes
    assert level.get_title() == "level of the speech (dB of full scale)"
    assert [label.get_text() for label in level.get_xticklabels()] == [
        "below -40\n1,234 clips",
        "above -20\n1,234 clips",
    ]
    assert list(level.containers[0].lines[0].get_ydata()) == [0.5, 0.9]
    assert [label.get_text() for label in snr.get_xticklabels()] == ["below 20\n1,234 clips"]
    assert not length.containers[0].lines[0].get_ydata().size  # no bin holds clips
    assert [label.get_text() for label in speaker.get_xticklabels()] == ["1\n1,234 clips"]


def test_noise_rises_to_the_right_and_each_background_has_a_line_of_its_own():
    axes = make_figure("noise").axes[0]
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert [line.get_label() for line in axes.get_lines()] == ["all backgrounds", "running tap", "clean"]


def test_hundreds_of_backgrounds_are_lines_without_names():
    rows = [
        {"snr_db": snr, "noise": kind, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
        for snr in (20, 0)
        for kind in ("all", *(f"noise_{number}" for number in range(200)))
    ]
    axes = figures.noise_figure(rows, SCORES).axes[0]
    assert len(axes.get_lines()) == 202
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all backgrounds", "each of them", "clean"]


def test_each_threshold_of_the_stream_stands_at_its_false_alarms_and_misses():
    axes = make_figure("det").axes[0]
    points = [container.lines[0] for container in axes.containers]
    assert [(one.get_xdata()[0], one.get_ydata()[0]) for one in points] == [(1.0, 0.05), (0.5, 0.1), (0.25, 0.2)]
    labels = axes.get_legend_handles_labels()[1]
    assert labels[:4] == ["all false alarms", "at other speech", "in background", "beside a word"]
    assert labels[4:] == [
        f"{name}: threshold from validation" for name in ("few misses", "balanced", "few false alarms")
    ]
    assert "4.0 h: 3600 words" in axes.get_title()


def test_a_stream_without_words_is_a_picture_without_points(tmp_path):
    without = {name: value for name, value in SCORES.items() if "missed" not in name}
    figure = figures.det_figure([], without | {"stream_words": 0}, KINDS, SENSITIVITIES)
    assert figure.axes[0].get_title() == "Test stream of 4.0 h: 0 words"
    figures.save_figure(figure, tmp_path / "det.png")


def test_the_name_of_a_background_is_no_formula():
    rows = [row | {"noise": row["noise"].replace("running", "$1 or $2")} for row in NOISE]
    axes = figures.noise_figure(rows, SCORES).axes[0]
    axes.figure.draw_without_rendering()
    assert axes.get_legend_handles_labels()[1][1] == r"\$1 or \$2 tap"


def test_each_fold_stands_beside_the_line_of_all_answers():
    figure = make_figure("folds")
    [axes] = figure.axes
    assert axes.get_lines()[0].get_ydata()[0] == 0.88
    assert list(axes.containers[0].lines[0].get_ydata()) == [0.9, 0.8, 0.95]
    assert [label.get_text() for label in figure.legends[0].get_texts()] == [
        "all 84 answers, interval over speakers",
        "one fold",
    ]


def test_the_law_of_the_data_curve_goes_on_to_four_times_the_clips():
    beyond = next(line for line in make_figure("data_curve").axes[0].get_lines() if "power law" in line.get_label())
    assert beyond.get_xdata().max() == pytest.approx(4000)
    assert beyond.get_ydata()[-1] == pytest.approx(1 - 1.5 * 4000**-0.45)
