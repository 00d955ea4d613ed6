"""evaluate: ask the trained network about every test clip, in quiet, in noise and in a stream; say how good it is.

Reads models/kws.keras, data/features and data/raw, writes metrics/evaluate.json, plots/evaluate and data/answers.npz.
"""

import numpy as np

from kws import background, corpus, metrics, noise_sweep, paths, plots, stage, stream
from kws.answers import write_answers
from kws.files import folder_written_whole, read_json, write_csv, write_json
from kws.frontend import FrontEnd
from kws.params import load_params
from kws.recordings import Recording, archive_of, read_recordings
from kws.tracking import tracked_run


def main() -> None:
    """Model and test clips in, figures, pictures and answers out."""
    params = load_params()
    from kws import evaluation, models  # TensorFlow: not before the parameters are known to be good

    model, spec = models.load_model(paths.MODEL)
    source = read_json(paths.SOURCE)
    classes, front_end, synthetic = spec["words"], FrontEnd.from_spec(spec), spec["test_synthetic"]
    predict = evaluation.predictor(model)
    noises = background.read_background(
        archive_of(source, "train"), corpus.read_clips(paths.CLIPS), front_end.sample_rate
    )
    told = {"front_end": front_end, "classes": classes, "seed": params.seed}
    stream_told = told | {"words": params.words, "minutes": params.stream_minutes}

    def sounds(split: str) -> tuple[list[Recording], dict[str, np.ndarray]]:
        """The clips of a split, and the part of the background that is kept for it."""
        parts = {name: background.part_of(noise, split, front_end.clip_samples) for name, noise in noises.items()}
        return read_recordings(paths.MANIFEST, split, archive_of(source, split), spec), parts

    with tracked_run(params, "evaluate"):
        answers = evaluation.answer_clips(model, paths.FEATURES, "test", spec)
        scores = evaluation.score(answers, classes, params.seed)
        if spec["clips"].get("unheard"):
            unheard = evaluation.answer_clips(model, paths.FEATURES, "unheard", spec)
            scores |= evaluation.rejection(unheard, classes, params.seed)
        if params.split == "random":
            scores |= evaluation.leak(answers, corpus.speakers_of(paths.MANIFEST, "train"))

        chosen_on = stream.listen(predict, *sounds("validation"), **stream_told)
        clips, parts = sounds("test")
        heard = stream.listen(predict, clips, parts, **stream_told)
        noisy = noise_sweep.sweep(predict, clips, parts, **told)
        scores |= noise_sweep.figures(noisy) | evaluation.score_stream(chosen_on, heard, params.false_alarms_an_hour)
        write_json(paths.METRICS / "evaluate.json", scores | {"synthetic": int(synthetic)})

        tables = {
            "confusion": (evaluation.CONFUSION_COLUMNS, evaluation.confusion_rows(answers, classes)),
            "words": (evaluation.WORD_COLUMNS, evaluation.word_rows(answers, classes)),
            "mistakes": (evaluation.MISTAKE_COLUMNS, evaluation.worst_mistakes(answers, classes)),
            "calibration": (evaluation.CALIBRATION_COLUMNS, evaluation.calibration_rows(answers)),
            "noise": (noise_sweep.COLUMNS, noisy),
            "det": (evaluation.DET_COLUMNS, evaluation.det_rows(heard)),
        }
        with folder_written_whole(paths.PLOTS / "evaluate") as folder:
            for name, (columns, rows) in tables.items():
                write_csv(folder / f"{name}.csv", rows, columns)
            matrix = metrics.confusion_matrix(answers.labels, answers.predicted, len(classes))
            plots.save(plots.confusion_figure(matrix, classes, synthetic), folder / "confusion.png")
            plots.save(plots.noise_figure(noisy, scores, synthetic), folder / "noise.png")
            plots.save(plots.det_figure(tables["det"][1], scores, synthetic), folder / "det.png")
        write_answers(paths.ANSWERS, answers, classes, synthetic=synthetic)
    for line in evaluation.told(scores, leaking=params.split == "random"):
        print(plots.voices_title(line, synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
