"""project: show the embedding of the test clips in three dimensions, say how true that is, and write the model card.

Reads data/answers.npz, data/raw and the metrics of the other stages, writes models/README.md (the card), the file
metrics/project.json and plots/project: for each of PCA, UMAP and t-SNE a turning picture and a table for `dvc plots`;
the explorer, a page to turn, search and hear them; and the files that TensorBoard's Embedding Projector opens. As the
last stage it registers the model in MLflow.
"""

import numpy as np

from kws.core import paths, stage
from kws.core.files import folder_written_whole, read_json, require_exists, write_csv, write_json, written_whole
from kws.core.params import load_params
from kws.evaluate.answers import read_answers
from kws.plots.figures import voices_title
from kws.project import explorer, projection
from kws.project.card import model_card
from kws.recordings.manifest import archive_of
from kws.tracking.run import STAGES, tracked_run


def main() -> None:
    """Answers in, projections, pictures, their quality and the model card out."""
    params = load_params()
    answers, classes, synthetic = read_answers(require_exists(paths.ANSWERS))
    source = read_json(paths.SOURCE)
    figures = {name: read_json(paths.METRICS / f"{name}.json") for name in STAGES[: STAGES.index("project")]}
    answers = answers.of(projection.choose_clips(answers.labels, params.projection_clips, params.seed))
    embedding, labels = answers.embeddings, answers.labels
    words = np.array(classes)
    about = {"word": words[labels], "predicted": words[answers.predicted], "name": answers.names}

    neighbourhoods = projection.fit_neighbourhoods(len(labels), params.umap_neighbors, params.tsne_perplexity)
    if neighbourhoods != (params.umap_neighbors, params.tsne_perplexity):
        print("{} test clips allow umap_neighbors {} and tsne_perplexity {:g}".format(len(labels), *neighbourhoods))

    with tracked_run(params, "project") as run:
        card = model_card(params, source, figures)
        with written_whole(paths.CARD) as partial:
            partial.write_text(card, encoding="utf-8")
        run.register(card)  # MLflow does it while UMAP is imported

        spaces = projection.project(embedding, params.seed, *neighbourhoods, params.umap_min_dist)
        quality = projection.quality(embedding, spaces, labels)
        write_json(paths.METRICS / "project.json", {"clips": len(labels)} | quality)
        spaces = {space: projection.orient(points, labels, len(classes)) for space, points in spaces.items()}
        with folder_written_whole(paths.PLOTS / "project") as folder:
            for space, points in spaces.items():
                title = voices_title(f"{projection.TITLES[space]}, {len(labels)} test clips", synthetic)
                projection.rotating_gif(points, labels, classes, title, folder / f"{space}.gif")
                write_csv(folder / f"{space}.csv", projection.table(points, about), projection.COLUMNS)
            projection.write_projector(folder / "projector", embedding, about)
            audible = answers.names[explorer.choose_audible(answers)].tolist()
            sounds = explorer.read_sounds(archive_of(source, "test"), audible, params.clip_seconds)
            title = voices_title(f"{len(labels)} test clips of {params.test_dataset or params.dataset}", synthetic)
            page = explorer.page(title, spaces, answers, classes, sounds)
            (folder / "explorer.html").write_text(page, encoding="utf-8")
    run.write_tracked()
    trust = ", ".join(f"{projection.TITLES[space]} {quality[f'{space}_trustworthiness']:.3f}" for space in spaces)
    print(voices_title(f"trustworthiness of the projections of {len(labels)} test clips: {trust}", synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
