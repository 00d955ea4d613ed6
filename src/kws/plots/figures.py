"""Figures in matplotlib, made from arrays. Low frequencies are at the bottom. Time is in seconds."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from kws.audio.frontend import FrontEnd
from kws.core.stage import Synthetic, voices_title
from kws.plots.fonts import give_fonts

DPI = 100
COLOURS = [to_hex(c) for c in mpl.color_sequences["petroff10"]]  # made for colour-blind people too (Petroff, 2021)
IMAGE: dict[str, Any] = {"cmap": "viridis", "origin": "lower", "aspect": "auto", "interpolation": "nearest"}
MARKERS = "o^sDPvX"  # seven, so that similar colours have different ones
NAMED_BACKGROUNDS = 30  # at most; more have no room beside the curves
DYNAMIC_RANGE = 80  # of the spectrum in the figure, in dB
FEATURES = {  # of each kind of front end, and their unit
    "log_mel": ("Log-Mel spectrogram", "ln(Mel power)"),
    "micro": ("Micro front end's spectrogram", "feature, 0 to 26"),
}

mpl.rcdefaults()  # the user's matplotlibrc must not change the figures
mpl.rcParams.update({"axes.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False})


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG. The same figure gives the same bytes."""
    give_fonts(figure)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})  # by default the file contains matplotlib's version


MOST_WORDS = 60  # in a confusion matrix, or in a legend: a picture of a thousand would take gigabytes
MOST_WORDS_BESIDE = 30  # in each of two confusion matrices side by side


def word_style(index: int) -> tuple[str, str]:
    """Returns colour and marker of a word. Neighbours differ in both, the first 70 words in at least one of them."""
    return COLOURS[index % len(COLOURS)], MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def mel_matrix_figure(weights: np.ndarray, sample_rate: int) -> Figure:
    """Draws the Mel filter bank as an image and as curves.

    Args:
        weights: (FFT bins, mels), from 0 Hz to half the sample rate.
        sample_rate: in Hz.
    """
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    image_axes, curve_axes = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    fft_bins, mels = weights.shape
    frequencies = np.linspace(0, sample_rate / 2000, fft_bins)
    step = frequencies[1]
    extent = (-step / 2, frequencies[-1] + step / 2, -0.5, mels - 0.5)
    image = image_axes.imshow(weights.T, extent=extent, vmin=0, **IMAGE)
    image_axes.set(title=f"Mel filter bank: {mels} filters on {fft_bins} FFT bins", ylabel="Mel bin")
    figure.colorbar(image, ax=image_axes, label="weight")

    curve_axes.plot(frequencies, weights, color="0.8", linewidth=0.6)
    for colour, mel in zip(COLOURS, np.linspace(0, mels - 1, min(mels, 6)).round().astype(int), strict=False):
        curve_axes.fill_between(frequencies, weights[:, mel], color=colour, label=f"{mel}")
    curve_axes.set(xlabel="frequency (kHz)", ylabel="weight", xlim=extent[:2], ylim=(0, 1.05))
    curve_axes.legend(title="Mel bin", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def clip_figure(waveform: np.ndarray, front_end: FrontEnd, title: str) -> Figure:
    """Draws what the front end makes of a clip: waveform, power spectrum and log-Mel spectrogram.

    Args:
        waveform: (samples,); full scale is 1.
        front_end: computes the spectrum and the spectrogram.
        title: the spoken word; see `voices_title`.
    """
    figure = Figure(figsize=(8, 8), layout="constrained")
    wave_axes, power_axes, mel_axes = figure.subplots(3, sharex=True)
    figure.suptitle(title, fontsize=13)
    power, log_mel = front_end.power(waveform), front_end.clip_log_mel(waveform)

    seconds = len(waveform) / front_end.sample_rate
    wave_axes.plot(np.arange(len(waveform)) / front_end.sample_rate, waveform, color=COLOURS[0], linewidth=0.5)
    wave_axes.set(title="Waveform", ylabel="amplitude\n(1 = full scale)", xlim=(0, seconds))

    decibel = 10 * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
    peak = decibel.max()
    half_bin = front_end.sample_rate / front_end.fft_length / 2000
    top = front_end.sample_rate / 2000 + half_bin
    image = _image(power_axes, decibel, front_end, (-half_bin, top), vmin=peak - DYNAMIC_RANGE, vmax=peak)
    power_axes.set(title="Power spectrum", ylabel="frequency (kHz)", ylim=(0, top - half_bin))
    figure.colorbar(image, ax=power_axes, label="power (dB)")

    image = _image(mel_axes, log_mel, front_end, (-0.5, log_mel.shape[1] - 0.5))
    title, unit = FEATURES[front_end.kind]
    mel_axes.set(title=f"{title}, what the network sees", ylabel="Mel bin", xlabel="time (s)")
    figure.colorbar(image, ax=mel_axes, label=unit)
    return figure


def mel_grid_figure(log_mels: Mapping[str, np.ndarray], front_end: FrontEnd, synthetic: Synthetic = False) -> Figure:
    """Draws log-Mel spectrograms in a grid, all with the same colour scale.

    Args:
        log_mels: (frames, mels) by word, as `FrontEnd.clip_log_mel` gives them.
        front_end: computed the spectrograms.
        synthetic: whether the voices are synthetic.
    """
    columns = min(5 if len(log_mels) % 5 == 0 else 4, len(log_mels))
    rows = -(-len(log_mels) // columns)
    figure = Figure(figsize=(2.4 * columns + 1, 1.9 * rows + 0.8), layout="constrained")
    title, unit = FEATURES[front_end.kind]
    figure.suptitle(voices_title(f"{title}s", synthetic), fontsize=13)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    low, high = (bound([bound(log_mel) for log_mel in log_mels.values()]) for bound in (np.min, np.max))
    for axes, (word, log_mel) in zip(grid.flat, log_mels.items(), strict=False):
        image = _image(axes, log_mel, front_end, (-0.5, log_mel.shape[1] - 0.5), vmin=low, vmax=high)
        axes.set_title(word)
    for axes in grid.flat[len(log_mels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(log_mels) - columns) : len(log_mels)]:
        axes.set_xlabel("time (s)")
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("Mel bin")
    figure.colorbar(image, ax=grid, label=unit, aspect=40)
    return figure


def curves_figure(history: Sequence[Mapping[str, float]], kept: float, synthetic: Synthetic = False) -> Figure:
    """Draws loss and accuracy by epoch, in training and validation, and marks the epoch whose weights were kept.

    Args:
        history: rows, one for each epoch, with epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
        kept: the epoch whose weights were kept.
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(voices_title("Training", synthetic), fontsize=13)
    epochs = [row["epoch"] for row in history]
    for axes, name, label in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("loss (nats)", "accuracy"), strict=True):
        for split, colour, marker in (("train", COLOURS[0], "o"), ("validation", COLOURS[6], "s")):
            values = [row[f"{split}_{name}"] for row in history]
            axes.plot(epochs, values, color=colour, marker=marker, markersize=4, label=split)
        axes.axvline(kept, color="0.4", linestyle=":", label=f"weights kept: epoch {kept:.0f}")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color="0.92")
    figure.axes[0].set_ylim(bottom=0)
    figure.axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.axes[0].legend()
    return figure


def confusion_figure(matrix: np.ndarray, words: Sequence[str], synthetic: Synthetic = False) -> Figure:
    """Draws the confusion matrix: counts, colours for their share of the row, and the recall at the right.

    Of more than MOST_WORDS words it shows those with the lowest recall, as far as they have clips.

    Args:
        matrix: (actual, predicted) counts.
        words: names of rows and columns.
        synthetic: whether the voices are synthetic.
    """
    accuracy, total = np.trace(matrix) / max(matrix.sum(), 1), matrix.sum()
    title = f"Test accuracy {accuracy:.1%} on {total} clips"
    shown = np.arange(len(words))
    if len(words) > MOST_WORDS:
        title += f"; the {MOST_WORDS} of {len(words):,} words with the lowest recall"
        shown = _worst_words(matrix, MOST_WORDS)
    inches = max(3.0, 0.42 * len(shown))
    figure = Figure(figsize=(inches + 3, inches + 1.5), layout="compressed")
    axes = figure.subplots()
    image = _confusion_panel(axes, matrix, words, shown)
    axes.set(title=voices_title(title, synthetic))
    figure.colorbar(image, ax=axes, label="share of the word's clips", format=PercentFormatter(1.0), shrink=0.7)
    return figure


def confusions_figure(panels: Sequence[tuple[str, np.ndarray, Sequence[str]]], synthetic: Synthetic = False) -> Figure:
    """Draws the confusion matrices of two networks on their validation clips side by side, each as `confusion_figure`.

    Of more than MOST_WORDS_BESIDE words it shows those with the lowest recall of the second network.

    Args:
        panels: for each network its name, its (actual, predicted) counts, and the names of rows and columns.
        synthetic: whether the voices are synthetic.
    """
    _, last, last_words = panels[-1]
    kept = [last_words[place] for place in _worst_words(last, MOST_WORDS_BESIDE)]
    inches = max(3.0, 0.42 * min(max(len(words) for _, _, words in panels), MOST_WORDS_BESIDE))
    figure = Figure(figsize=(2 * inches + 6, inches + 1.8), layout="compressed")
    title = "Validation clips"
    if len(kept) < len(last_words):
        title += f"; the {len(kept)} of {len(last_words):,} words with the lowest recall of {panels[-1][0]}"
    figure.suptitle(voices_title(title, synthetic), fontsize=13)
    grid = figure.subplots(1, len(panels))
    for axes, (name, matrix, words) in zip(grid, panels, strict=True):
        shown = np.array([place for place, word in enumerate(words) if len(words) <= len(kept) or word in kept])
        image = _confusion_panel(axes, matrix, words, shown)
        axes.set_title(f"{name}: {np.trace(matrix) / max(matrix.sum(), 1):.1%} of {matrix.sum()} clips are right")
    figure.colorbar(image, ax=grid, label="share of the word's clips", format=PercentFormatter(1.0), shrink=0.7)
    return figure


def _worst_words(matrix: np.ndarray, most: int) -> np.ndarray:
    """The words with the lowest recall, at most so many, as indices in order; those without clips come last."""
    clips = matrix.sum(axis=1)
    recalls = np.where(clips, matrix.diagonal() / np.maximum(clips, 1), np.inf)
    return np.sort(np.argsort(recalls, kind="stable")[:most])


def _confusion_panel(axes: Axes, matrix: np.ndarray, words: Sequence[str], shown: np.ndarray) -> AxesImage:
    """Draws some rows and columns of a confusion matrix: counts, colours for their share of the row, the recall.

    Args:
        axes: to draw on.
        matrix: (actual, predicted) counts of all words.
        words: their names.
        shown: indices of the words that are drawn.
    """
    clips = matrix.sum(axis=1)
    shares = (matrix / np.maximum(clips, 1)[:, None])[np.ix_(shown, shown)]
    matrix, clips, words = matrix[np.ix_(shown, shown)], clips[shown], [words[place] for place in shown]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for actual, predicted in np.argwhere(matrix):
        colour = "white" if shares[actual, predicted] > 0.55 else "black"
        axes.text(
            predicted, actual, f"{matrix[actual, predicted]}", ha="center", va="center", color=colour, fontsize="small"
        )
    axes.set(xlabel="predicted word", ylabel="actual word")
    axes.set_xticks(range(len(words)), words, rotation=90 if len(words) > 6 else 0)
    axes.set_yticks(range(len(words)), words)
    recall = axes.secondary_yaxis("right")
    recall.set_yticks(range(len(words)), [f"{shares[i, i]:.0%} of {clips[i]}" for i in range(len(words))])
    recall.set_ylabel("recall")
    for side in (axes, recall):
        side.tick_params(length=0)
    axes.set_xticks(np.arange(len(words) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(words) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.88", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    return image


def accuracies_figure(
    accuracies: Mapping[str, Sequence[Sequence[float]]],
    differences: Mapping[str, Sequence[float]],
    names: tuple[str, str],
    synthetic: Synthetic = False,
) -> Figure:
    """Draws the accuracies of two networks and their difference, each with its 95 % interval.

    Args:
        accuracies: by split, of the first and the second network: the share of the clips, and the ends of its interval.
        differences: by split, where the same clips were answered: by how much the second one's is higher, and the ends.
        names: of the networks.
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    figure.suptitle(voices_title("Accuracy, 95 % intervals", synthetic), fontsize=13)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = {split: -float(place) for place, split in enumerate(accuracies)}  # the first one on top
    for number, name in enumerate(names):
        for split, row in rows.items():
            _interval_bar(left, accuracies[split][number], row + 0.15 - 0.3 * number, number, None if row else name)
    for split, difference in differences.items():
        _interval_bar(right, difference, rows[split], 2)
    right.axvline(0, color="0.4", linestyle=":")
    left.set(xlabel="share of the clips that is right", yticks=list(rows.values()), yticklabels=list(rows))
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.set(xlabel=f"{names[1]} minus {names[0]} (points)", yticks=list(rows.values()), yticklabels=[])
    right.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    for axes in (left, right):
        axes.set_ylim(min(rows.values()) - 0.6, 0.6)
        axes.grid(color="0.92", axis="x")
    for split in rows.keys() - differences.keys():
        right.text(0.5, rows[split], "not compared", transform=right.get_yaxis_transform(), ha="center", va="center")
    figure.legend(frameon=False, loc="outside lower left", ncols=2, fontsize="small")
    return figure


def _interval_bar(axes: Axes, figure: Sequence[float], row: float, style: int, label: str | None = None) -> None:
    """Draws a value and its interval as a horizontal bar."""
    value, low, high = figure
    axes.errorbar(
        [value], [row], xerr=[[value - low], [high - value]], color=COLOURS[style], marker=MARKERS[style], capsize=3,
        label=label,
    )  # fmt: skip


def conditions_figure(rows: Sequence[Mapping[str, Any]], accuracy: float, synthetic: Synthetic = False) -> Figure:
    """Draws accuracy by condition, a panel each: a point for each bin, with its 95 % interval and its number of clips.

    Args:
        rows: as `kws.evaluate.conditions.rows` returns them.
        accuracy: on all these clips.
        synthetic: whether the voices are synthetic.
    """
    titles = {
        "level": "level of the speech (dB of full scale)",
        "snr": "speech over the clip's own noise (dB)",
        "length": "length of the word (s)",
        "speaker": "number of test clips of the same speaker",
    }
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    figure.suptitle(voices_title("Test clips by condition, 95 % intervals", synthetic), fontsize=13)
    for number, (axes, condition) in enumerate(zip(figure.subplots(2, 2, sharey=True).flat, titles, strict=True)):
        bins = [row for row in rows if row["condition"] == condition]
        accuracies, low, high = (np.array([row[f"accuracy{end}"] for row in bins]) for end in ("", "_low", "_high"))
        axes.axhline(accuracy, color="0.4", linestyle=":")
        axes.errorbar(
            range(len(bins)), accuracies, (accuracies - low, high - accuracies), color=COLOURS[number],
            marker=MARKERS[number], capsize=3, linestyle="none",
        )  # fmt: skip
        labels = [f"{_bin_label(row['bin'])}\n{row['clips']:,} clips" for row in bins]
        axes.set_xticks(range(len(bins)), labels, fontsize="small")
        axes.set(title=titles[condition], xlim=(-0.6, max(len(bins), 1) - 0.4), ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color="0.92", axis="y")
    for axes in figure.axes[::2]:
        axes.set_ylabel("accuracy")
    return figure


def _bin_label(name: str) -> str:
    """The name of a bin without its unit, which stands above: `-40_to_-30dbfs` -> `-40 to -30`."""
    return re.sub(r"(dbfs|db|s|_clips?)$", "", name).replace("_", " ")


def noise_figure(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, float], synthetic: Synthetic = False
) -> Figure:
    """Draws accuracy over the signal-to-noise ratio, for each background and for all, the latter with 95 % intervals.

    Args:
        rows: as `kws.evaluate.noise_sweep.sweep` returns them.
        scores: figures of the evaluation; `noise_clean_accuracy` is drawn.
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys(row["noise"] for row in rows))
    for number, kind in enumerate(kinds):
        points = [row for row in rows if row["noise"] == kind]
        ratios, accuracies = [row["snr_db"] for row in points], [row["accuracy"] for row in points]
        if number == 0:  # all backgrounds
            low, high = ([row[bound] for row in points] for bound in ("accuracy_low", "accuracy_high"))
            axes.fill_between(ratios, low, high, color="0.88")
            axes.plot(ratios, accuracies, color="black", marker="o", linewidth=2.5, label=f"{kind} backgrounds")
        else:
            label = kind.replace("_", " ").replace("$", r"\$")  # a file's name is no formula
            style: dict[str, Any] = {"linewidth": 1, "label": label}
            style |= dict(zip(("color", "marker"), word_style(number - 1), strict=True))
            if len(kinds) - 1 > NAMED_BACKGROUNDS:
                style = {"linewidth": 0.3, "color": "0.7", "label": "each of them" if number == 1 else None}
            axes.plot(ratios, accuracies, **style)
    axes.axhline(scores["noise_clean_accuracy"], color="0.4", linestyle=":", label="clean")
    axes.set(xlabel="signal-to-noise ratio (dB)", ylabel="accuracy", ylim=(0, 1))
    axes.set_title(voices_title("Test clips in background that training has not heard", synthetic))
    axes.invert_xaxis()
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="0.92")
    axes.legend(frameon=False, fontsize="small")
    return figure


def det_figure(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, float],
    kinds: Mapping[str, str],
    sensitivities: Collection[str],
    synthetic: Synthetic = False,
) -> Figure:
    """Draws DET curves: missed words over false alarms an hour, of all kinds and of each. It marks the thresholds.

    Args:
        rows: as `kws.evaluate.stream_scores.det_rows` returns them, one for each threshold; none if no word was said.
        scores: figures of the evaluation: `stream_...`, and those of each sensitivity.
        kinds: of false alarms, and where each is.
        sensitivities: whose thresholds are marked.
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    missed = [row["missed"] for row in rows]
    alarms = [row["false_alarms_an_hour"] for row in rows]
    axes.plot(alarms, missed, label="all false alarms", color="black", linewidth=2)
    for number, (kind, where) in enumerate(kinds.items()):
        alarms = [row[f"{kind}_false_alarms_an_hour"] for row in rows]
        dashes = ("--", "-.", ":")[number % 3]
        axes.plot(alarms, missed, label=where, color=COLOURS[2 * number], linestyle=dashes)
    if scores["stream_words"]:
        for place, sensitivity in enumerate(sensitivities):
            names = [f"{sensitivity}_test_{figure}" for figure in ("false_alarms_an_hour", "missed")]
            rate, missing = (scores[name] for name in names)
            across, along = (
                [[scores[name] - scores[f"{name}_low"]], [scores[f"{name}_high"] - scores[name]]] for name in names
            )
            axes.errorbar(
                rate, missing, xerr=across, yerr=along, color=COLOURS[6], capsize=3, marker="^sv"[place],
                linestyle="none", label=f"{sensitivity.replace('_', ' ')}: threshold from validation",
            )  # fmt: skip
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="false alarms an hour", ylabel="missed words", ylim=(0, 1.02), xlim=(-0.1, None))
    title = f"Test stream of {scores['stream_hours']:.1f} h: {scores['stream_words']} words"
    axes.set_title(voices_title(title, synthetic))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="0.92")
    axes.legend(frameon=False, fontsize="small")
    return figure


def data_curve_figure(
    rows: Sequence[Mapping[str, float]], law: Callable[[np.ndarray], np.ndarray], synthetic: Synthetic = False
) -> Figure:
    """Draws accuracy over the number of training clips, and the power law that fits the errors, with its interval.

    Args:
        rows: clips_a_class, accuracy, accuracy_low, accuracy_high.
        law: of numbers of clips: accuracy, and the ends of its interval, (3, numbers).
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    clips, accuracies = (np.array([row[name] for row in rows]) for name in ("clips_a_class", "accuracy"))
    low, high = (np.array([row[f"accuracy_{bound}"] for row in rows]) for bound in ("low", "high"))
    axes.errorbar(
        clips, accuracies, (accuracies - low, high - accuracies), color=COLOURS[0], marker="o", capsize=3,
        label="measured, 95 % intervals",
    )  # fmt: skip
    beyond = np.geomspace(clips[-3:].min(), 4 * clips.max())
    expected, lowest, highest = law(beyond)
    axes.fill_between(beyond, lowest, highest, color=COLOURS[6], alpha=0.15, linewidth=0)
    axes.plot(beyond, expected, color=COLOURS[6], linestyle="--", label="power law of the errors, 95 % interval")
    axes.set_xscale("log")
    axes.set(xlabel="training clips of each class", ylabel="accuracy on the validation clips")
    axes.set_title(voices_title("How much data?", synthetic))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="0.92", which="both")
    axes.legend(frameon=False)
    return figure


def few_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws accuracy and rejection of other words over the number of takes a word, with their 95 % intervals.

    Args:
        rows: takes, voices_say (what computed voices say beside them), accuracy and rejection, and their ends.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    titles = {"accuracy": "the word is the right one", "rejection": "other words are rejected, 5 % false rejection"}
    for axes, (name, title) in zip(figure.subplots(1, 2, sharex=True), titles.items(), strict=True):
        for number, said in enumerate(dict.fromkeys(row["voices_say"] for row in rows)):
            some = [row for row in rows if row["voices_say"] == said]
            values, low, high = (np.array([row[f"{name}{end}"] for row in some]) for end in ("", "_low", "_high"))
            axes.errorbar(
                [row["takes"] for row in some], values, (values - low, high - values), color=COLOURS[number],
                marker=MARKERS[number], capsize=3, label=f"computed voices say {said}",
            )  # fmt: skip
        axes.set_xscale("symlog", linthresh=1)
        takes = sorted({row["takes"] for row in rows})
        axes.set_xticks(takes, labels=[str(number) for number in takes])
        axes.minorticks_off()
        axes.set(xlabel="takes a word", title=title)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color="0.92")
        axes.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def folds_figure(rows: Sequence[Mapping[str, Any]], synthetic: Synthetic = False) -> Figure:
    """Draws the accuracy of each fold of a cross-validation, and that of all answers as a line; 95 % intervals.

    Args:
        rows: fold, test_clips, accuracy, accuracy_low, accuracy_high; the last row is of all folds.
        synthetic: whether the voices are synthetic.
    """
    *folds, pooled = rows
    figure = Figure(figsize=(max(6.0, 0.5 * len(folds) + 3), 4.5), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(pooled["accuracy_low"], pooled["accuracy_high"], color="0.88")
    axes.axhline(pooled["accuracy"], color="black", label=f"all {pooled['test_clips']} answers, interval over speakers")
    accuracies, low, high = (np.array([row[f"accuracy{end}"] for row in folds]) for end in ("", "_low", "_high"))
    axes.errorbar(
        [row["fold"] for row in folds], accuracies, (accuracies - low, high - accuracies), color=COLOURS[0],
        marker="o", capsize=3, linestyle="none", label="one fold",
    )  # fmt: skip
    axes.set(xlabel="fold", ylabel="accuracy on its test clips", ylim=(0, 1.02))
    axes.set_title(voices_title("Cross-validation over speakers", synthetic))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="0.92", axis="y")
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize="small")
    return figure


def seeds_figure(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], synthetic: Synthetic = False) -> Figure:
    """Draws figures of several seeds: a panel for each figure, a point for each seed, and the mean as a line.

    The 95 % interval of the mean is for other people and other seeds; those of the seeds are for other people.

    Args:
        rows: seed, and each figure with its interval; the last row is of all seeds.
        names: of the figures in the rows, and what they are.
        synthetic: whether the voices are synthetic.
    """
    *seeds, pooled = rows
    figure = Figure(figsize=(3.4 * len(names), 4.0), layout="constrained")
    for axes, (name, label) in zip(np.atleast_1d(figure.subplots(1, len(names))), names.items(), strict=True):
        axes.axhspan(pooled[f"{name}_low"], pooled[f"{name}_high"], color="0.88")
        axes.axhline(pooled[name], color="black")
        values, low, high = (np.array([row[f"{name}{end}"] for row in seeds]) for end in ("", "_low", "_high"))
        axes.errorbar(
            [str(row["seed"]) for row in seeds], values, (values - low, high - values), color=COLOURS[0],
            marker="o", capsize=3, linestyle="none",
        )  # fmt: skip
        axes.set(xlabel="seed", title=label)
        if "an_hour" not in name:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color="0.92", axis="y")
    figure.suptitle(
        voices_title("Mean over seeds, 95 % interval for other people and seeds", synthetic), fontsize="medium"
    )
    return figure


def study_figure(
    rows: Sequence[Mapping[str, Any]], searched: Mapping[str, Literal["linear", "log"]], synthetic: Synthetic = False
) -> Figure:
    """Draws the trials of a sweep: their validation accuracy and the best so far, then over each searched parameter.

    A trial that was stopped early is drawn with its accuracy when it was stopped.

    Args:
        rows: trial, state (whole, stopped or another one), validation_accuracy, and the searched parameters.
        searched: their names, and the scale of each.
        synthetic: whether the voices are synthetic.
    """
    columns = min(4, len(searched))
    lines = -(-len(searched) // columns)
    figure = Figure(figsize=(max(7.0, 2.8 * columns), 3.4 + 2.4 * lines), layout="constrained")
    figure.suptitle(voices_title("Trials, by validation accuracy", synthetic), fontsize=13)
    grid = figure.add_gridspec(1 + lines, columns, height_ratios=(1.4, *[1] * lines))
    first = figure.add_subplot(grid[0, :])
    panels = [figure.add_subplot(grid[1 + n // columns, n % columns], sharey=first) for n in range(len(searched))]
    for state, label, colour, marker in (
        ("whole", "trained to the end", COLOURS[0], "o"),
        ("stopped", "stopped early", COLOURS[6], "x"),
    ):
        some = [row for row in rows if row["state"] == state and row["validation_accuracy"] != ""]
        if not some:
            continue
        trials, accuracies = [row["trial"] for row in some], [row["validation_accuracy"] for row in some]
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        first.plot(trials, accuracies, label=label, **style)
        if state == "whole":
            best = np.maximum.accumulate(accuracies)
            first.step(trials, best, where="post", color="black", label="best so far")
        for axes, name in zip(panels, searched, strict=True):
            values = [row[name] for row in some]
            words = any(isinstance(value, str | bool) for value in values)
            axes.plot([str(value) for value in values] if words else values, accuracies, **style)
    for number, (axes, (name, scale)) in enumerate(zip(panels, searched.items(), strict=True)):
        if scale == "log":
            axes.set_xscale(scale)
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name)
        axes.tick_params(labelleft=number % columns == 0)
        axes.grid(color="0.92")
    first.set(xlabel="trial", ylabel="validation accuracy")
    first.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    first.yaxis.set_major_formatter(PercentFormatter(1.0))
    first.grid(color="0.92")
    if first.has_data():
        first.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def importance_figure(shares: Mapping[str, float], synthetic: Synthetic = False) -> Figure:
    """Draws how much each parameter of a sweep explains of the differences between trials.

    Args:
        shares: by parameter, the largest first; their sum is 1.
        synthetic: whether the voices are synthetic.
    """
    figure = Figure(figsize=(7, 1.4 + 0.4 * len(shares)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(shares), list(shares.values()), color=COLOURS[0])
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.1 * max(shares.values())), xlabel="share of the variance of validation accuracy")
    axes.set_title(voices_title("Importance of the parameters", synthetic))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _image(
    axes: Axes, frames: np.ndarray, front_end: FrontEnd, vertical: tuple[float, float], **scale: Any
) -> AxesImage:
    """Draws (frames, bins) over time in s. Each frame is around its middle, and the first bin is at the bottom."""
    start = (front_end.frame_length - front_end.hop_length) / 2 / front_end.sample_rate
    end = start + len(frames) * front_end.hop_length / front_end.sample_rate
    return axes.imshow(frames.T, extent=(start, end, *vertical), **IMAGE, **scale)
