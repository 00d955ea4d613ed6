"""project: show the embedding of the test clips in three dimensions, and say how true the pictures are.

Reads data/embeddings.npz, writes metrics/project.json and plots/project: for each of PCA, UMAP and t-SNE a turning
picture and a table for `dvc plots`; and the files that TensorBoard's Embedding Projector opens.
"""

import numpy as np

from kws import paths, projection, stage
from kws.files import folder_written_whole, made, write_csv, write_json
from kws.params import load_params
from kws.plots import voices_title
from kws.tracking import experiment_key, tracked_run


def main() -> None:
    """Embedding in, projections, pictures and their quality out."""
    params = load_params()
    with np.load(made(paths.EMBEDDINGS)) as file:
        test = dict(file)
    words, synthetic = test["words"], bool(test["synthetic"])
    chosen = projection.choose_clips(test["label"], params.projection_clips, params.seed)
    embedding, labels = test["embedding"][chosen], test["label"][chosen]
    about = {"word": words[labels], "predicted": words[test["predicted"][chosen]], "name": test["name"][chosen]}

    neighbourhoods = projection.fit_neighbourhoods(len(labels), params.umap_neighbors, params.tsne_perplexity)
    if neighbourhoods != (params.umap_neighbors, params.tsne_perplexity):
        print("{} test clips allow umap_neighbors {} and tsne_perplexity {:g}".format(len(labels), *neighbourhoods))

    with tracked_run(params, "project"):
        spaces = projection.project(embedding, params.seed, *neighbourhoods, params.umap_min_dist)
        quality = projection.quality(embedding, spaces, labels)
        write_json(paths.METRICS / "project.json", {"clips": len(labels)} | quality)
        with folder_written_whole(paths.PLOTS / "project") as folder:
            for space, points in spaces.items():
                oriented = projection.orient(points, labels, len(words))
                title = voices_title(f"{projection.TITLES[space]}, {len(labels)} test clips", synthetic)
                projection.rotating_gif(oriented, labels, words, title, folder / f"{space}.gif")
                write_csv(folder / f"{space}.csv", projection.table(oriented, about), projection.COLUMNS)
            projection.write_projector(folder / "projector", embedding, about)
    write_json(paths.TRACKED, {"experiment": experiment_key(params)})
    trust = ", ".join(f"{projection.TITLES[space]} {quality[f'{space}_trustworthiness']:.3f}" for space in spaces)
    print(voices_title(f"trustworthiness of the projections of {len(labels)} test clips: {trust}", synthetic))


if __name__ == "__main__":
    stage.run(main, __doc__)
