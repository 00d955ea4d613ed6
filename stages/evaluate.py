"""evaluate: ask the trained network about every test clip, in quiet, in noise and in a stream; say how good it is.

Reads models/kws.keras, data/features and data/raw, writes metrics/evaluate.json, plots/evaluate and data/answers.npz.
"""

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_json, write_csv, write_json
from kws.core.params import load_params
from kws.evaluate import metrics, noise_sweep, stream
from kws.evaluate.answers import write_answers
from kws.plots.figures import confusion_figure, det_figure, noise_figure, save_figure, voices_title
from kws.recordings import background
from kws.recordings.clips import read_clips, speakers_of
from kws.recordings.manifest import Recording, archive_of, read_recordings
from kws.tracking.run import tracked_run


def main() -> None:
    """Model and test clips in, figures, pictures and answers out."""
    params = load_params()
    with tracked_run(params, "evaluate"):  # before TensorFlow: MLflow gets ready meanwhile
        from kws.evaluate import scores
        from kws.train import models

        model, spec = models.load_model(paths.MODEL)
        source = read_json(paths.SOURCE)
        classes, front_end, synthetic = spec["words"], FrontEnd.from_spec(spec), spec["test_synthetic"]
        predict = scores.predictor(model)
        noises = background.read_background(archive_of(source, "train"), read_clips(paths.CLIPS), front_end.sample_rate)
        measured = {"front_end": front_end, "classes": classes, "seed": params.seed}
        of_stream = measured | {"words": params.words, "minutes": params.stream_minutes}

        def sounds(split: str) -> tuple[list[Recording], dict[str, np.ndarray]]:
            """The clips of a split, and the part of the background that is kept for it."""
            parts = {name: background.part_of(noise, split, front_end.clip_samples) for name, noise in noises.items()}
            return read_recordings(paths.MANIFEST, split, archive_of(source, split), spec), parts

        answers = scores.answer_clips(model, paths.FEATURES, "test", spec)
        figures = scores.score(answers, classes, params.seed)
        if spec["clips"].get("unheard"):
            unheard = scores.answer_clips(model, paths.FEATURES, "unheard", spec)
            figures |= scores.rejection(unheard, classes, params.seed)
        if params.split == "random":
            figures |= scores.leak(answers, speakers_of(paths.MANIFEST, "train"))

        chosen_on = stream.listen(predict, *sounds("validation"), **of_stream)
        clips, parts = sounds("test")
        heard = stream.listen(predict, clips, parts, **of_stream)
        noisy = noise_sweep.sweep(predict, clips, parts, **measured)
        figures |= noise_sweep.figures(noisy) | scores.score_stream(chosen_on, heard, params.false_alarms_an_hour)
        write_json(paths.METRICS / "evaluate.json", figures | {"synthetic": int(synthetic)})

        tables = {
            "confusion": (scores.CONFUSION_COLUMNS, scores.confusion_rows(answers, classes)),
            "words": (scores.WORD_COLUMNS, scores.word_rows(answers, classes)),
            "mistakes": (scores.MISTAKE_COLUMNS, scores.worst_mistakes(answers, classes)),
            "calibration": (scores.CALIBRATION_COLUMNS, scores.calibration_rows(answers)),
            "noise": (noise_sweep.COLUMNS, noisy),
            "det": (scores.DET_COLUMNS, scores.det_rows(heard)),
        }
        with folder_written_whole(paths.PLOTS / "evaluate") as folder:
            for name, (columns, rows) in tables.items():
                write_csv(folder / f"{name}.csv", rows, columns)
            matrix = metrics.confusion_matrix(answers.labels, answers.predicted, len(classes))
            save_figure(confusion_figure(matrix, classes, synthetic), folder / "confusion.png")
            save_figure(noise_figure(noisy, figures, synthetic), folder / "noise.png")
            save_figure(det_figure(tables["det"][1], figures, synthetic), folder / "det.png")
        write_answers(paths.ANSWERS, answers, classes, synthetic=synthetic)
    for line in scores.told(figures, leaking=params.split == "random"):
        print(voices_title(line, synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
