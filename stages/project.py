"""project: show the embedding of the test clips in three dimensions, judge the pictures, and write the model card.

Reads data/answers.npz, data/raw, plots/evaluate/noise.csv and the metrics of the other stages. Writes models/README.md
(the card), metrics/project.json, data/tracked.json and plots/project: for each of PCA, UMAP and t-SNE a turning picture
and a table for `dvc plots`; the explorer, a page to turn, search and hear the clips; and the files that TensorBoard's
Embedding Projector opens. As the last stage it registers the model in MLflow. A second process computes the
projections.
"""

import numpy as np

from kws.core import paths, stage
from kws.core.address import public_address
from kws.core.files import (
    folder_written_whole,
    read_csv,
    read_json,
    require_exists,
    write_csv,
    write_json,
    written_whole,
)
from kws.core.params import load_params
from kws.evaluate.answers import read_answers
from kws.project import hard_cases, projection
from kws.project.card import model_card
from kws.project.second_process import results_of
from kws.recordings.manifest import usable_rows
from kws.recordings.source import DataSource
from kws.tracking.run import STAGES, tracked_run


def main() -> None:
    """Answers in; projections, pictures, their quality and the model card out."""
    params = load_params()
    answers, classes, synthetic = read_answers(require_exists(paths.ANSWERS))
    voices = answers.voices(synthetic=synthetic)
    source = DataSource.read(paths.SOURCE)
    files = ("devices", *STAGES[: STAGES.index("project")])
    figures = {name: read_json(paths.METRICS / f"{name}.json") for name in files}
    people = hard_cases.worst_people(answers)
    noises = hard_cases.worst_noise(read_csv(paths.PLOTS / "evaluate" / "noise.csv"))
    wanted = hard_cases.clips_of(people, answers)
    answers = answers.subset(projection.choose_clips(answers.labels, params.projection_clips, params.seed, wanted))
    embedding, labels = answers.embeddings, answers.labels
    words = np.array(classes)
    columns = {"word": words[labels], "predicted": words[answers.predicted], "name": answers.names}

    neighbourhoods = projection.fit_neighbourhoods(len(labels), params.umap_neighbors, params.tsne_perplexity)
    if left_out := projection.left_out(embedding):
        print(f"left out: {left_out}")
    elif neighbourhoods != (params.umap_neighbors, params.tsne_perplexity):
        print("{} test clips allow umap_neighbors {} and tsne_perplexity {:g}".format(len(labels), *neighbourhoods))

    settings = (params.seed, *neighbourhoods, params.umap_min_dist)
    with (
        results_of(projection.project_and_judge, embedding, labels, len(classes), *settings) as results,
        tracked_run(params, "project") as run,
    ):
        card = model_card(params, source, figures)
        with written_whole(paths.CARD) as partial:
            partial.write_text(card, encoding="utf-8")
        run.register(card)  # MLflow does it while this stage goes on

        from kws.project import explorer, turning_gif  # matplotlib and plotly: imported while the second process works

        with folder_written_whole(paths.PLOTS / "project") as folder:
            projection.write_projector(folder / "projector", embedding, columns)
            audible = answers.names[explorer.choose_audible(answers, people)].tolist()
            rows = usable_rows(paths.MANIFEST, "test")
            sounds = explorer.read_sounds(source, rows, audible, params.clip_seconds)
            spaces = {}
            for space, name in projection.TITLES.items():
                title = stage.voices_title(f"{name}, {len(labels)} test clips", voices)
                if left_out and space != "pca":
                    turning_gif.left_out_gif(title, left_out, folder / f"{space}.gif")
                    write_csv(folder / f"{space}.csv", [], projection.COLUMNS)
                    continue
                points = spaces[space] = next(results)
                turning_gif.rotating_gif(points, labels, classes, title, folder / f"{space}.gif")
                write_csv(folder / f"{space}.csv", projection.table(points, columns), projection.COLUMNS)
            tested = public_address(params.test_dataset or params.dataset)
            title = stage.voices_title(f"{len(labels)} test clips of {tested}", voices)
            page = explorer.page(title, spaces, answers, classes, sounds, people=people, noises=noises)
            (folder / "explorer.html").write_text(page, encoding="utf-8")
        quality = next(results)
        write_json(paths.METRICS / "project.json", {"clips": len(labels)} | quality)
    run.write_tracked()
    trust = ", ".join(
        f"{name} {quality[f'{space}_trustworthiness']:.3f}"
        for space, name in projection.TITLES.items()
        if f"{space}_trustworthiness" in quality
    )
    if trust:
        print(stage.voices_title(f"trustworthiness of the projections of {len(labels)} test clips: {trust}", voices))


if __name__ == "__main__":
    stage.run(main, __doc__)
