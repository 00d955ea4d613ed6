"""evaluate: test the trained network on the test clips, in quiet, in noise and in a stream.

Reads models/network.tflite, metrics/train.json, plots/train/history.csv, data/features and data/raw. Writes
metrics/evaluate.json, plots/evaluate, data/answers.npz and plots/train/curves.png. (The curves are drawn here, so that
a change of their colour does not train again.) The network runs by LiteRT, as on devices. The results do not depend
on the number of threads.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from kws.audio.frontend import BLAS_THREADS
from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_csv, read_json, write_csv, write_json, written_whole
from kws.core.params import SILENCE, UNKNOWN, load_params
from kws.evaluate import metrics, noise_sweep, scores, stream
from kws.evaluate.answers import write_answers
from kws.evaluate.network import EvaluatedNetwork
from kws.plots.figures import confusion_figure, curves_figure, det_figure, noise_figure, save_figure
from kws.recordings import background
from kws.recordings.clips import UNHEARD, read_clips, speakers_of
from kws.recordings.manifest import Recording, read_recordings
from kws.recordings.parts import part_of
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.tracking.run import tracked_run


def main() -> None:
    """Model and test clips in, figures, pictures and answers out."""
    params = load_params()
    with tracked_run(params, "evaluate"), threadpool_limits(BLAS_THREADS):
        network = EvaluatedNetwork(paths.NETWORK, params.threads)
        spec, source = FeatureSpec.read(paths.SPEC), DataSource.read(paths.SOURCE)
        history = [{name: float(value) for name, value in row.items()} for row in read_csv(paths.HISTORY)]
        best_epoch = read_json(paths.METRICS / "train.json")["best_epoch"]
        classes, front_end, synthetic = spec.classes, spec.front_end, spec.test_synthetic
        noises, _ = background.read_background(
            source.archive_of("train"), read_clips(paths.CLIPS), front_end.sample_rate
        )

        def sounds(split: str) -> tuple[list[Recording], dict[str, np.ndarray]]:
            """The clips of a split, and the part of the background that is kept for it."""
            parts = {name: part_of(noise, split, front_end.clip_samples) for name, noise in noises.items()}
            return read_recordings(paths.MANIFEST, split, source.archive_of(split), front_end), parts

        def streamed(clips: list[Recording], parts: dict[str, np.ndarray]) -> stream.StreamOutcome:
            """What becomes of a stream of these clips over these backgrounds."""
            return stream.simulate(
                network.probabilities,
                clips,
                parts,
                front_end=front_end,
                classes=classes,
                words=params.words,
                minutes=params.stream_minutes,
                seed=params.seed,
            )

        answers = scores.answer_clips(network, paths.FEATURES, "test", spec)
        figures = scores.score(answers, classes, params.seed)
        if spec.clips.get(UNHEARD["test"]) and {UNKNOWN, SILENCE} & {*classes}:
            unheard = scores.answer_clips(network, paths.FEATURES, UNHEARD["test"], spec)
            figures |= scores.rejection(unheard, classes, params.seed)
        figures |= scores.leak(answers, speakers_of(paths.MANIFEST, "train"), at_random=params.split == "random")

        chosen_on = streamed(*sounds("validation"))
        clips, parts = sounds("test")
        outcome = streamed(clips, parts)
        noisy = noise_sweep.sweep(
            network.probabilities, clips, parts, front_end=front_end, classes=classes, seed=params.seed
        )
        figures |= noise_sweep.figures(noisy) | scores.score_stream(chosen_on, outcome, params.false_alarms_an_hour)
        write_json(paths.METRICS / "evaluate.json", figures | {"synthetic": int(synthetic)})

        tables = {
            "confusion": (scores.CONFUSION_COLUMNS, scores.confusion_rows(answers, classes)),
            "words": (scores.WORD_COLUMNS, scores.word_rows(answers, classes)),
            "mistakes": (scores.MISTAKE_COLUMNS, scores.worst_mistakes(answers, classes)),
            "calibration": (scores.CALIBRATION_COLUMNS, scores.calibration_rows(answers)),
            "noise": (noise_sweep.COLUMNS, noisy),
            "det": (scores.DET_COLUMNS, scores.det_rows(outcome)),
        }
        with folder_written_whole(paths.PLOTS / "evaluate") as folder:
            for name, (columns, rows) in tables.items():
                write_csv(folder / f"{name}.csv", rows, columns)
            matrix = metrics.confusion_matrix(answers.labels, answers.predicted, len(classes))
            save_figure(confusion_figure(matrix, classes, synthetic), folder / "confusion.png")
            save_figure(noise_figure(noisy, figures, synthetic), folder / "noise.png")
            save_figure(det_figure(tables["det"][1], figures, synthetic), folder / "det.png")
        with written_whole(paths.CURVES) as partial:
            save_figure(curves_figure(history, best_epoch, spec.synthetic), partial)
        write_answers(paths.ANSWERS, answers, classes, synthetic=synthetic)
    for line in scores.summary_lines(figures, classes):
        print(stage.voices_title(line, synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
