"""evaluate: ask the trained network about every test clip, and say how good the answers are.

Reads models/kws.keras and the test records, writes metrics/evaluate.json, plots/evaluate and data/embeddings.npz.
"""

import numpy as np

from kws import metrics, paths, plots, stage
from kws.files import folder_written_whole, write_csv, write_json, written_whole
from kws.params import load_params
from kws.tracking import tracked_run


def main() -> None:
    """Model and test clips in, figures, pictures and embeddings out."""
    params = load_params()
    from kws import evaluation, models  # TensorFlow: not before the parameters are known to be good

    model, spec = models.load_model(paths.MODEL)
    words, synthetic = spec["words"], spec["synthetic"]
    with tracked_run(params, "evaluate"):
        answers = evaluation.answer_test_clips(model, paths.FEATURES, spec)
        scores = evaluation.score(answers, words, params.seed)
        write_json(paths.METRICS / "evaluate.json", scores | {"synthetic": int(synthetic)})
        with folder_written_whole(paths.PLOTS / "evaluate") as folder:
            write_csv(folder / "confusion.csv", evaluation.confusion_rows(answers, words), evaluation.CONFUSION_COLUMNS)
            write_csv(folder / "words.csv", evaluation.word_rows(answers, words), evaluation.WORD_COLUMNS)
            write_csv(folder / "mistakes.csv", evaluation.worst_mistakes(answers, words), evaluation.MISTAKE_COLUMNS)
            matrix = metrics.confusion_matrix(answers.labels, answers.predicted, len(words))
            plots.save(plots.confusion_figure(matrix, words, synthetic), folder / "confusion.png")
        with written_whole(paths.EMBEDDINGS) as partial:
            np.savez(
                partial,
                embedding=answers.embeddings,
                label=answers.labels,
                predicted=answers.predicted,
                probability=answers.confidence,
                name=answers.names,
                speaker=answers.speakers,
                words=words,
                synthetic=synthetic,
            )
    low, high = scores["accuracy_low"], scores["accuracy_high"]
    result = (
        f"test accuracy {scores['accuracy']:.1%}, 95 % interval {low:.1%} to {high:.1%}, {len(answers.names)} clips"
    )
    print(plots.voices_title(result, synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
