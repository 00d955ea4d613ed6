"""The embedding of the test clips in three dimensions, by PCA, UMAP and t-SNE, and the quality of these projections.

Numba compiles three functions of UMAP. It keeps the compiled code, so that only the first run pays for it.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from kws.core import paths
from kws.core.imports import modules_replaced

COLUMNS = ("x", "y", "z", "word", "predicted", "name")
TITLES = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
NEIGHBORS = 10  # of a clip, in the two measures of quality
FEWEST = 7  # clips that UMAP and t-SNE can place
TSNE_STEPS = 750  # 1000 clips hardly move in later steps
FLATNESS = 0.3  # height over width of the layout of words: words differ most in x and y, which flat plots show


def choose_clips(labels: np.ndarray, how_many: int, seed: int, first: np.ndarray) -> np.ndarray:
    """Chooses clips at random, so that each word keeps its share of those that are free.

    Args:
        labels: (clips,) word indices.
        how_many: largest number of clips to choose.
        seed: of the choice.
        first: positions of clips that are wanted; at most a quarter of the chosen clips are taken from them.

    Returns:
        Sorted positions of the chosen clips.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels))  # of a clip among the clips of its word, from 0 to 1
    for word in np.unique(labels):
        clips = order[labels[order] == word]
        rank[clips] = np.arange(len(clips)) / len(clips)
    rank[first[: how_many // 4]] = -1
    return np.sort(np.argsort(rank, kind="stable")[:how_many])


def left_out(embedding: np.ndarray) -> str:
    """Why UMAP and t-SNE, which place neighbourhoods, cannot place these clips; empty where they can.

    Args:
        embedding: (clips, units).
    """
    if len(embedding) < FEWEST:
        return f"{len(embedding)} test clips are too few for UMAP and t-SNE, which need {FEWEST}"
    if not np.ptp(embedding, axis=0).any():
        return "all test clips have the same embedding: the network learned nothing; lower learning_rate"
    return ""


def fit_neighbourhoods(clips: int, umap_neighbors: int, tsne_perplexity: float) -> tuple[int, float]:
    """Lowers `umap_neighbors` and `tsne_perplexity` to the largest values that the number of clips allows."""
    return min(umap_neighbors, clips - 1), min(
        tsne_perplexity, (clips - 1) // 3
    )  # t-SNE uses 3 times as many neighbours


def project(
    embedding: np.ndarray, seed: int, umap_neighbors: int, tsne_perplexity: float, umap_min_dist: float
) -> dict[str, np.ndarray]:
    """Projects the embedding to three dimensions, by three methods. The same input gives the same bytes.

    Args:
        embedding: float32 (clips, units).
        seed: of UMAP and t-SNE.
        umap_neighbors: size of a neighbourhood (McInnes, 2018).
        tsne_perplexity: about the size of a neighbourhood (van der Maaten, 2008).
        umap_min_dist: smallest distance that UMAP may put between two clips, 0 to 1.

    Returns:
        Points by space, float32 (clips, 3); those of PCA alone where `left_out` has a reason.
    """
    return dict(_projections(embedding, seed, umap_neighbors, tsne_perplexity, umap_min_dist))


def project_and_judge(
    embedding: np.ndarray, labels: np.ndarray, classes: int, *settings: Any
) -> Iterator[np.ndarray | dict[str, float]]:
    """Projects the embedding, as `project` does, and yields each result as soon as it is there.

    Args:
        embedding: float32 (clips, units).
        labels: (clips,) word indices.
        classes: number of words.
        settings: the other arguments of `project`, in its order.

    Yields:
        The points of each space that `project` returns, in the order of TITLES, oriented, float32 (clips, 3); then
        their quality.
    """
    spaces = {}
    with threadpool_limits(limits=1):
        for space, points in _projections(embedding, *settings):
            spaces[space] = points
            yield orient(points, labels, classes)
        yield quality(embedding, spaces, labels)


def _projections(
    embedding: np.ndarray, seed: int, umap_neighbors: int, tsne_perplexity: float, umap_min_dist: float
) -> Iterator[tuple[str, np.ndarray]]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    with threadpool_limits(limits=1):  # the last digits of a sum depend on the number of threads
        if left_out(embedding):
            yield "pca", _few_axes(embedding)
            return
        pca = PCA(3, svd_solver="full").fit_transform(embedding)
        yield "pca", pca
        yield "umap", _umap(embedding, pca, seed, umap_neighbors, umap_min_dist)
        tsne = TSNE(
            3,
            perplexity=tsne_perplexity,
            learning_rate=max(len(embedding) / 48, 10),  # sklearn's default, at least 50, scatters a hundred clips
            max_iter=TSNE_STEPS,
            init="pca",
            random_state=seed,
        )
        yield "tsne", tsne.fit_transform(embedding)


def _few_axes(embedding: np.ndarray) -> np.ndarray:
    """PCA of clips that may have fewer than three axes between them; the others are 0."""
    centred = embedding - embedding.mean(axis=0)
    axes = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    return np.pad(axes, ((0, 0), (0, 3 - axes.shape[1])))


def _umap(embedding: np.ndarray, start: np.ndarray, seed: int, neighbors: int, min_dist: float) -> np.ndarray:
    umap = _import_umap()
    from sklearn.neighbors import NearestNeighbors

    # From sklearn, since UMAP's own search is slow below 4096 clips. The spectral start is not repeatable.
    distances, indices = NearestNeighbors(n_neighbors=neighbors).fit(embedding).kneighbors(embedding)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)  # no new clips will be placed
        reducer = umap.UMAP(
            n_components=3,
            n_neighbors=neighbors,
            min_dist=min_dist,
            init=start,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(indices, distances.astype(np.float32)),
            force_approximation_algorithm=True,  # UMAP would ignore the given neighbours below 4096 clips
        )
        return reducer.fit_transform(embedding)


def _import_umap() -> Any:
    """Imports UMAP without the packages that this module does not need, and prepares its compiled functions.

    UMAP imports TensorFlow for its parametric variant, and pynndescent to search neighbours. TensorFlow takes seconds
    to import. pynndescent compiles its functions at its first import, for longer than the stage takes.
    """
    _choose_cache()
    contents: dict[str, dict[str, Any]] = {
        "pynndescent": {"NNDescent": type("NNDescent", (), {})},
        "pynndescent.distances": {"named_distances": {}},
        "pynndescent.sparse": {"sparse_named_distances": {}},
    }
    modules: dict[str, ModuleType | None] = {"tensorflow": None}
    for name, content in contents.items():
        modules[name] = module = ModuleType(name)
        vars(module).update(content)
    with modules_replaced(modules), warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # UMAP misses TensorFlow
        import umap
    import numba

    strengths = umap.umap_.compute_membership_strengths
    if strengths.targetoptions.get(
        "parallel"
    ):  # one thread computes the same bytes; its code compiles in half the time
        serial = numba.njit(strengths.py_func, locals=strengths.locals, cache=True)
        umap.umap_.compute_membership_strengths = serial
    for function in (umap.umap_.smooth_knn_dist, umap.layouts._nb_optimize_layout_euclidean_single_epoch):  # noqa: SLF001
        function.enable_caching()
    return umap


def _choose_cache() -> None:
    """Makes Numba keep compiled code in the project if the folder of the package is read-only.

    Numba's own second choice is the user's home. Numba fails where that is read-only, too.
    """
    folder = Path(str(distribution("umap-learn").locate_file("umap")))
    cache = folder / "__pycache__"
    if not os.access(cache if cache.exists() else folder, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(paths.scratch("numba")))


def orient(points: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Centres, scales and turns (or mirrors) points, so that pictures of different models can be compared.

    Each word has a place in a layout that depends only on the number of words. The function rotates the points so that
    the middle of each word comes close to its place: orthogonal Procrustes (Schönemann, 1966). Few words do not
    determine the rotation. The principal axes of the points then determine the rest.

    Args:
        points: (clips, 3).
        labels: (clips,) word indices.
        classes: number of words.

    Returns:
        float32 (clips, 3). The root mean square distance from the origin is 1.
    """
    from scipy.linalg import orthogonal_procrustes

    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    centred /= np.sqrt((centred**2).sum(axis=1).mean()) or 1  # 0: all are at one place
    at_least_three = np.pad(centred, ((0, max(0, 3 - len(centred))), (0, 0)))  # or there would be fewer axes
    principal = centred @ np.linalg.svd(at_least_three, full_matrices=False)[2].T
    principal *= np.where((principal**3).sum(axis=0) < 0, -1, 1)  # the long tail of each axis is positive

    words = np.unique(labels)
    centroids = [principal[labels == word].mean(axis=0) for word in words]
    axes = 0.01 * np.eye(3)
    rotation, _ = orthogonal_procrustes(np.vstack([*centroids, axes]), np.vstack([_layout(classes)[words], axes]))
    return (principal @ rotation).astype(np.float32)


def _layout(classes: int) -> np.ndarray:
    """Places of the words, (classes, 3), evenly on a flattened sphere: Fibonacci's lattice (González, 2010)."""
    index = np.arange(classes)
    height = 1 - (2 * index + 1) / classes
    angle = np.pi * (1 + np.sqrt(5)) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), FLATNESS * height], axis=1)


def quality(embedding: np.ndarray, projections: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Measures how well the projections keep neighbourhoods, and how well each space separates the words.

    Trustworthiness (Venna, 2001), 0 to 1: the share of neighbours in the projection that are neighbours in the
    embedding, weighted by rank. k-nearest-neighbour accuracy, 0 to 1: the share of clips whose neighbours, without the
    clip itself, vote for its word.

    Args:
        embedding: (clips, units).
        projections: (clips, 3) by space.
        labels: (clips,) word indices.

    Returns:
        `<space>_trustworthiness` for each projection, `<space>_knn_accuracy` for these and the embedding; nothing
        for one or two clips, which have no neighbours to lose.
    """
    neighbors = min(NEIGHBORS, (len(labels) - 1) // 2)
    if not neighbors:
        return {}
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    spaces = {"embedding": embedding} | projections
    trust = {
        f"{space}_trustworthiness": trustworthiness(embedding, points, n_neighbors=neighbors)
        for space, points in projections.items()
    }
    accuracy = {
        f"{space}_knn_accuracy": KNeighborsClassifier(neighbors).fit(points, labels).score(None, labels)
        for space, points in spaces.items()
    }
    return {name: round(float(value), 6) for name, value in (trust | accuracy).items()}


def table(points: np.ndarray, clips: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Makes the rows of a table, one for each clip.

    Args:
        points: (clips, 3), written as x, y and z.
        clips: further columns by name, each (clips,).
    """
    places = dict(zip("xyz", np.round(points.astype(np.float64), 4).T.tolist(), strict=True))
    columns = places | {name: values.tolist() for name, values in clips.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_projector(folder: Path, embedding: np.ndarray, clips: Mapping[str, np.ndarray]) -> None:
    """Writes the files that TensorBoard's Embedding Projector opens: `tensorboard --logdir <folder>`.

    Args:
        folder: the function creates it.
        embedding: (clips, units).
        clips: columns of text by name, each (clips,).
    """
    folder.mkdir()
    np.savetxt(folder / "tensors.tsv", embedding, fmt="%.6g", delimiter="\t")
    rows = [clips.keys(), *zip(*clips.values(), strict=True)]
    lines = ["\t".join(" ".join(text.split()) for text in row) for row in rows]  # a name may contain a tab
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        'embeddings {\n  tensor_name: "embedding"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    )
