"""A GIF of a cloud of points in three dimensions that turns once about its vertical axis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform
from PIL import Image

from kws.plots.figures import word_style

FRAMES = 48
MILLISECONDS = 90  # a frame: one turn takes 4.3 s
ELEVATION = np.radians(15)  # of the camera; y is up, and the first frame looks along z
PIXELS = 560
CUBE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
EDGES = [(i, j) for i in range(8) for j in range(i) if abs(CUBE[i] - CUBE[j]).sum() == 2]


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
    colours = to_rgba_array([colour for colour, _ in styles])[labels]
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
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))

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
