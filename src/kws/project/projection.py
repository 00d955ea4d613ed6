"""The embedding of the test clips in three dimensions: PCA, UMAP and t-SNE, how true they are, and how they look."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform
from PIL import Image
from threadpoolctl import threadpool_limits

from kws.core.errors import UserError
from kws.plots.figures import word_style

COLUMNS = ("x", "y", "z", "word", "predicted", "name")
TITLES = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
NEIGHBORS = 10  # of a clip, in the two measures of quality
FEWEST = 7  # clips that t-SNE can place
TSNE_STEPS = 750  # after which 1000 clips hardly move
FLATNESS = 0.3  # height over width of the layout of words: x and y, the flat view, get what sets them apart best

FRAMES = 48
MILLISECONDS = 90  # a frame: one turn takes 4.3 s
ELEVATION = np.radians(15)  # of the camera; y is up, and the first frame looks along z
PIXELS = 560
CUBE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
EDGES = [(i, j) for i in range(8) for j in range(i) if abs(CUBE[i] - CUBE[j]).sum() == 2]


def choose_clips(labels: np.ndarray, how_many: int, seed: int) -> np.ndarray:
    """At most `how_many` clips, each word in proportion: (clips,) word indices -> sorted positions."""
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels))  # of a clip among those of its word, from 0 to 1
    for word in np.unique(labels):
        own = order[labels[order] == word]
        rank[own] = np.arange(len(own)) / len(own)
    return np.sort(np.argsort(rank, kind="stable")[:how_many])


def fit_neighbourhoods(clips: int, umap_neighbors: int, tsne_perplexity: float) -> tuple[int, float]:
    """`umap_neighbors` and `tsne_perplexity`, or less where there are too few clips for them.

    Raises:
        UserError: there are too few for any.
    """
    if clips < FEWEST:
        raise UserError(f"{clips} test clips are too few to project, at least {FEWEST}: add speakers or words")
    return min(umap_neighbors, clips - 1), min(tsne_perplexity, (clips - 1) // 3)  # t-SNE looks at three times as many


def project(
    embedding: np.ndarray, seed: int, umap_neighbors: int, tsne_perplexity: float, umap_min_dist: float
) -> dict[str, np.ndarray]:
    """The embedding in three dimensions, by three methods, the same bytes each time.

    Args:
        embedding: float32 (clips, units).
        seed: of UMAP and t-SNE.
        umap_neighbors: size of a neighbourhood (McInnes, 2018).
        tsne_perplexity: about the size of a neighbourhood (van der Maaten, 2008).
        umap_min_dist: how close UMAP may put two clips, 0 to 1.

    Returns:
        Points by space, float32 (clips, 3).


    Raises:
        UserError: there is nothing to see, since all clips have the same embedding.
    """
    if not np.ptp(embedding, axis=0).any():
        raise UserError("all test clips have the same embedding: the network learned nothing; lower learning_rate")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    with threadpool_limits(limits=1):  # the last digits of a sum depend on the number of threads
        pca = PCA(3, svd_solver="full").fit_transform(embedding)
        umap = _umap(embedding, pca, seed, umap_neighbors, umap_min_dist)
        tsne = TSNE(
            3,
            perplexity=tsne_perplexity,
            learning_rate=max(len(embedding) / 48, 10),  # sklearn's own, at least 50, throws a hundred clips about
            max_iter=TSNE_STEPS,
            init="pca",
            random_state=seed,
        )
        return {"pca": pca, "umap": umap, "tsne": tsne.fit_transform(embedding)}


def _umap(embedding: np.ndarray, start: np.ndarray, seed: int, neighbors: int, min_dist: float) -> np.ndarray:
    with _hidden("tensorflow"), warnings.catch_warnings():  # it is imported for a variant that is not used here
        warnings.simplefilter("ignore", ImportWarning)
        import umap
    from sklearn.neighbors import NearestNeighbors

    for function in _compiled(umap):
        function.enable_caching()

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
            force_approximation_algorithm=True,  # below 4096 clips the neighbours given would not be used
        )
        return reducer.fit_transform(embedding)


def _compiled(umap: Any) -> tuple[Any, ...]:
    """The functions of UMAP that are compiled at their first call, for longer than they then run."""
    return (
        umap.umap_.smooth_knn_dist,
        umap.umap_.compute_membership_strengths,
        umap.layouts._nb_optimize_layout_euclidean_single_epoch,  # noqa: SLF001 (it has no other name)
    )


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Makes `import module` fail meanwhile, as if it were not installed."""
    there = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]  # what the import system takes for "not to be found"
    try:
        yield
    finally:
        del sys.modules[module]
        if there:
            sys.modules[module] = there


def orient(points: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Centres, scales and turns (or mirrors) points, so that pictures of different models can be compared.

    Each word is drawn towards its own place in a layout that depends on the number of words alone, by
    orthogonal Procrustes (Schönemann, 1966). What few words leave open is decided by the principal axes.

    Args:
        points: (clips, 3).
        labels: (clips,) word indices.
        classes: number of words.

    Returns:
        float32 (clips, 3); root mean square distance from the middle is 1.
    """
    from scipy.linalg import orthogonal_procrustes

    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    centred /= np.sqrt((centred**2).sum(axis=1).mean())
    principal = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    principal *= np.where((principal**3).sum(axis=0) < 0, -1, 1)  # the long tail of each axis is positive

    words = np.unique(labels)
    centroids = [principal[labels == word].mean(axis=0) for word in words]
    axes = 0.01 * np.eye(3)
    rotation, _ = orthogonal_procrustes(np.vstack([*centroids, axes]), np.vstack([_layout(classes)[words], axes]))
    return (principal @ rotation).astype(np.float32)


def _layout(classes: int) -> np.ndarray:
    """A place for each word, evenly on a flattened sphere: Fibonacci's lattice (González, 2010)."""
    index = np.arange(classes)
    height = 1 - (2 * index + 1) / classes
    angle = np.pi * (1 + np.sqrt(5)) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), FLATNESS * height], axis=1)


def quality(embedding: np.ndarray, projections: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """How true the projections are to the embedding, and how well each space keeps the words apart.

    Trustworthiness (Venna, 2001), 0 to 1: whether a clip's neighbours in the projection are neighbours in the
    embedding. k-nearest-neighbour accuracy: how often a clip's neighbours, itself left out, vote for its word.

    Args:
        embedding: (clips, units).
        projections: (clips, 3) by space.
        labels: (clips,) word indices.
    """
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    neighbors = min(NEIGHBORS, (len(labels) - 1) // 2)
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
    """One row a clip: its place (x, y, z) and what `clips` says about it, by column."""
    places = dict(zip("xyz", np.round(points.astype(np.float64), 4).T.tolist(), strict=True))
    columns = places | {name: values.tolist() for name, values in clips.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_projector(folder: Path, embedding: np.ndarray, clips: Mapping[str, np.ndarray]) -> None:
    """Writes the files that TensorBoard's Embedding Projector opens: `tensorboard --logdir <folder>`.

    Args:
        folder: is made.
        embedding: (clips, units).
        clips: (clips,) texts by column.
    """
    folder.mkdir()
    np.savetxt(folder / "tensors.tsv", embedding, fmt="%.6g", delimiter="\t")
    rows = [clips.keys(), *zip(*clips.values(), strict=True)]
    lines = ["\t".join(" ".join(text.split()) for text in row) for row in rows]  # a name may hold a tab
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        'embeddings {\n  tensor_name: "embedding"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n}\n'
    )


def rotating_gif(points: np.ndarray, labels: np.ndarray, words: Sequence[str], title: str, path: Path) -> None:
    """Writes a turning cloud of points, one colour and marker a word, with a legend: the same bytes each time.

    Args:
        points: (clips, 3), as from `orient`.
        labels: (clips,) word indices.
        words: names of the words.
        title: stands above.
        path: of the GIF.
    """
    styles = [word_style(index) for index in range(len(words))]
    columns = -(-len(words) // 20)
    inches = PIXELS / 100
    figure = Figure(figsize=(inches + 1.1 * columns, inches), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)  # Any: most of its methods carry no types
    figure.suptitle(title, x=0.02, ha="left")
    entries = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=word)
        for word, (colour, marker) in zip(words, styles, strict=True)
    ]
    figure.legend(handles=entries, loc="center right", ncols=columns, frameon=False, handletextpad=0.1)
    axes = figure.add_axes((0, 0, inches / figure.get_figwidth(), 0.95), xlim=(-1.75, 1.75), ylim=(-1.66, 1.66))
    axes.set_axis_off()
    cube = LineCollection([], color="0.8", linewidth=1, animated=True)
    cloud = PathCollection([], edgecolors="white", linewidths=0.2, animated=True)
    for artist in (cube, cloud):
        axes.add_collection(artist)
    cloud.set(transform=IdentityTransform(), offset_transform=axes.transData)
    canvas.draw()  # what stands still; the animated ones are left out
    background = canvas.copy_from_bbox(figure.bbox)

    shapes = [MarkerStyle(marker) for _, marker in styles]
    paths = np.array([shape.get_path().transformed(shape.get_transform()) for shape in shapes])[labels]
    colours = np.array([colour for colour, _ in styles])[labels]
    points = points / np.quantile(np.abs(points), 0.98)
    size = np.clip(8000 / len(points), 14, 36)  # of a marker, in square points
    frames = []
    for turn in np.arange(FRAMES) * 2 * np.pi / FRAMES:
        canvas.restore_region(background)
        corners, _ = _seen(CUBE, turn)
        cube.set_segments([corners[[i, j]] for i, j in EDGES])
        places, near = _seen(points, turn)
        order = np.argsort(near, kind="stable")  # the near ones are drawn over the far ones
        cloud.set(paths=paths[order], facecolors=colours[order], offsets=places[order])
        cloud.set_sizes(size * (1 + 0.4 * near[order]).clip(0.3), dpi=figure.dpi)
        axes.draw_artist(cube)
        axes.draw_artist(cloud)
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))

    palette = Image.new("P", (1, 1))  # one for all frames, or their colours would flicker
    tints = [to_rgb(colour) for colour in ["black", *dict.fromkeys(colour for colour, _ in styles)]]
    shades = np.multiply.outer(1 - np.array(tints), np.linspace(0, 1, 12))  # each from white to full
    palette.putpalette((255 * (1 - shades)).round().astype(np.uint8).transpose(0, 2, 1).ravel().tolist())
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=MILLISECONDS, loop=0)


def _seen(points: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a camera sees points (n, 3) turned about the y axis: (n, 2), and how near they are (n,)."""
    x, y, z = points.T
    right = x * np.cos(turn) + z * np.sin(turn)
    front = z * np.cos(turn) - x * np.sin(turn)
    up = y * np.cos(ELEVATION) - front * np.sin(ELEVATION)
    near = y * np.sin(ELEVATION) + front * np.cos(ELEVATION)
    return np.stack([right, up], axis=1) / (1 - 0.1 * near[:, None]), near
