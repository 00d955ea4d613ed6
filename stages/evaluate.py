"""evaluate: test the trained network on the test clips, in quiet, in noise and in a stream.

Reads models/network.tflite, the same in 8 bits (models/network_int8.tflite), metrics/train.json,
plots/train/history.csv, data/features and data/raw. Writes metrics/evaluate.json, plots/evaluate, data/answers.npz and
data/validation.npz (the answers to the clips of test and validation), data/stream.npz and plots/train/curves.png. (The
curves are drawn here, so that a change of their colour does not train again.) The networks run by LiteRT, as on
devices. The results do not depend on the number of threads.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from kws.audio.frontend import BLAS_THREADS
from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_csv, read_json, write_csv, write_json, written_whole
from kws.core.naming import SILENCE, UNKNOWN, file_name
from kws.core.params import Params, load_params
from kws.evaluate import (
    conditions,
    devices,
    eight_bits,
    metrics,
    noise_sweep,
    scores,
    stream,
    stream_scores,
    stream_sound,
)
from kws.evaluate.answers import Answers, write_answers
from kws.evaluate.network import EvaluatedNetwork
from kws.plots.figures import conditions_figure, confusion_figure, curves_figure, det_figure, noise_figure, save_figure
from kws.recordings import background
from kws.recordings.clips import UNHEARD, read_clips, speakers_of
from kws.recordings.manifest import read_recordings, spoken_rows
from kws.recordings.source import DataSource
from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec
from kws.spotting.detect import SENSITIVITIES
from kws.tracking.run import tracked_run


def main() -> None:
    """Model and test clips in, figures, pictures and answers out."""
    params = load_params()
    with tracked_run(params, "evaluate"), threadpool_limits(BLAS_THREADS):
        network, int8 = (EvaluatedNetwork(path, params.threads) for path in (paths.NETWORK, paths.NETWORK_INT8))
        spec, source = FeatureSpec.read(paths.SPEC), DataSource.read(paths.SOURCE)
        classes, front_end = spec.classes, spec.front_end
        noises, _ = background.read_background(
            source.archive_of("train"), read_clips(paths.CLIPS), front_end, ("validation", "test")
        )

        # in quiet
        validation = scores.answer_clips(network, paths.FEATURES, "validation", spec)
        answers = scores.answer_clips(network, paths.FEATURES, "test", spec, embedded=True)
        figures = scores.score(answers, classes) | scores.by_voices(answers)
        if UNKNOWN in classes or SILENCE in classes:
            unheard = scores.answer_clips(network, paths.FEATURES, UNHEARD["test"], spec)
            figures |= scores.rejection(unheard, classes)
        heard_by_int8 = int8.probabilities(clip.log_mel for clip in cached_clips(paths.FEATURES, "test", spec))
        figures |= eight_bits.quiet_figures(answers, heard_by_int8)
        figures |= scores.leak(answers, speakers_of(paths.MANIFEST, "train"), at_random=params.split == "random")
        figures |= scores.heard(paths.MANIFEST)

        # in the streams: validation chooses the thresholds, test is judged by them
        words = [classes.index(word) for word in params.words]
        chosen_on = stream.hear(
            {eight_bits.FLOAT32: network.probabilities},
            _stream("validation", params, source, spec, noises),
            front_end=front_end,
            words=words,
        )[eight_bits.FLOAT32]
        heard, first_hour = eight_bits.hear(
            network.probabilities,
            int8.probabilities,
            _stream("test", params, source, spec, noises),
            front_end=front_end,
            words=words,
        )
        streams = stream_scores.score_stream(chosen_on, heard, params.false_alarms_an_hour)
        outcome = heard.at(streams["stream_threshold"])
        leaking = stream_sound.leaking(paths.MANIFEST)
        streams = stream_scores.with_other_speech(streams, outcome, source.unheard, leaking)
        figures |= streams | eight_bits.stream_figures(first_hour, streams["stream_threshold"])

        on_devices = _on_devices(params, source, spec, noises)

        # in noise, and by condition
        recordings = read_recordings(spoken_rows(paths.MANIFEST, "test"), source, front_end)
        in_noise = noise_sweep.sweep(
            {eight_bits.FLOAT32: network.ask, eight_bits.INT8: int8.ask},
            recordings,
            noises["test"],
            front_end=front_end,
            classes=classes,
            threads=params.threads,
        )
        noisy = noise_sweep.rows(in_noise, eight_bits.FLOAT32)
        by_condition = conditions.rows(answers, in_noise.sounds)
        figures |= noise_sweep.figures(noisy) | conditions.figures(by_condition) | eight_bits.noise_figures(in_noise)

        write_json(paths.METRICS / "devices.json", on_devices)
        write_json(paths.METRICS / "evaluate.json", figures | {"synthetic": int(spec.test_synthetic)})
        tables = {
            "conditions": (conditions.COLUMNS, by_condition),
            "words": (scores.WORD_COLUMNS, scores.word_rows(answers, classes)),
            "mistakes": (scores.MISTAKE_COLUMNS, scores.worst_mistakes(answers, classes)),
            "calibration": (scores.CALIBRATION_COLUMNS, scores.calibration_rows(answers)),
            "noise": (noise_sweep.COLUMNS, noisy),
            "det": (stream_scores.DET_COLUMNS, stream_scores.det_rows(heard)),
        }
        _draw(tables, answers, figures, spec)
        write_answers(paths.VALIDATION, validation, classes, synthetic=spec.synthetic)
        write_answers(paths.ANSWERS, answers, classes, synthetic=spec.test_synthetic)
        stream.write_stream(paths.STREAM, outcome)
    lines = scores.summary_lines(figures, classes) + stream_scores.stream_lines(figures, classes)
    lines += stream_scores.other_speech_lines(figures, source.unheard)
    for line in lines + devices.lines(on_devices):
        print(stage.voices_title(line, answers.voices(synthetic=spec.test_synthetic)))


def _stream(
    split: str, params: Params, source: DataSource, spec: FeatureSpec, noises: background.Background
) -> Iterator[stream.Stretch]:
    """The stream of a split, validation or test."""
    return stream_sound.stream_of(
        split, paths.MANIFEST, source, spec, noises, words=params.words, minutes=params.stream_minutes
    )


def _on_devices(
    params: Params, source: DataSource, spec: FeatureSpec, noises: background.Background
) -> dict[str, dict[str, float]]:
    """The figures of the files for devices in the streams, by word; nothing where train made none."""
    if not paths.DEVICES.exists():
        return {}
    networks = {
        spec.classes.index(word): devices.DeviceNetwork(paths.DEVICES / f"{file_name(word)}.tflite")
        for word in params.words
    }
    float32 = devices.DeviceNetwork(paths.DEVICE_FLOAT32)
    heard = {
        split: devices.hear(networks, float32, _stream(split, params, source, spec, noises), spec.front_end)
        for split in ("validation", "test")
    }
    return {
        spec.classes[word]: devices.score_word(
            heard["validation"][word], heard["test"][word], params.false_alarms_an_hour
        )
        for word in networks
    }


def _draw(
    tables: Mapping[str, tuple[Sequence[str], list[dict[str, Any]]]],
    answers: Answers,
    figures: dict[str, float],
    spec: FeatureSpec,
) -> None:
    """Writes the tables, and draws what they say."""
    synthetic = answers.voices(synthetic=spec.test_synthetic)
    with folder_written_whole(paths.PLOTS / "evaluate") as folder:
        for name, (columns, rows) in tables.items():
            write_csv(folder / f"{name}.csv", rows, columns)
        write_csv(folder / "confusion.csv", scores.confusion_rows(answers, spec.classes), scores.CONFUSION_COLUMNS)
        matrix = metrics.confusion_matrix(answers.labels, answers.predicted, len(spec.classes))
        pictures = {
            "confusion": confusion_figure(matrix, spec.classes, synthetic),
            "conditions": conditions_figure(tables["conditions"][1], figures["noise_clean_accuracy"], synthetic),
            "noise": noise_figure(tables["noise"][1], figures, synthetic),
            "det": det_figure(tables["det"][1], figures, stream_scores.KINDS, SENSITIVITIES, synthetic),
        }
        for name, figure in pictures.items():
            save_figure(figure, folder / f"{name}.png")
    history = [{name: float(value) for name, value in row.items()} for row in read_csv(paths.HISTORY)]
    best_epoch = read_json(paths.METRICS / "train.json")["best_epoch"]
    with written_whole(paths.CURVES) as partial:
        save_figure(curves_figure(history, best_epoch, spec.synthetic), partial)


if __name__ == "__main__":
    stage.run(main, __doc__)
