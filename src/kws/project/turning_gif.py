"""A GIF of a cloud of points in three dimensions that turns once about its vertical axis."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
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

from kws.plots.figures import MOST_WORDS, word_style
from kws.plots.fonts import give_fonts

FRAMES = 48
MILLISECONDS = 90  # duration of a frame; a turn takes 4.3 s
ELEVATION = np.radians(15)  # of the camera; y points up, and in the first frame the camera looks along z
PIXELS = 560
CUBE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
EDGES = [(i, j) for i in range(8) for j in range(i) if abs(CUBE[i] - CUBE[j]).sum() == 2]


def rotating_gif(points: np.ndarray, labels: np.ndarray, words: Sequence[str], title: str, path: Path) -> None:
    """Writes a GIF of a turning cloud of points, with a colour and a marker for each word, and a legend of MOST_WORDS.

    The same input gives the same bytes.

    Args:
        points: (clips, 3), as from `orient`.
        labels: (clips,) word indices.
        words: names of the words.
        title: text above the points.
        path: of the GIF.
    """
    styles = [word_style(index) for index in range(len(words))]
    columns = -(-min(len(words), MOST_WORDS) // 20)
    inches = PIXELS / 100
    figure = Figure(figsize=(inches + 1.1 * columns, inches), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)  # Any: most of its methods carry no types
    figure.suptitle(title, x=0.02, ha="left")
    entries = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=word)
        for word, (colour, marker) in zip(words[:MOST_WORDS], styles, strict=False)
    ]
    if len(words) > MOST_WORDS:
        entries[-1].set(marker="", label=f"and {len(words) - MOST_WORDS + 1} more")
    figure.legend(handles=entries, loc="center right", ncols=columns, frameon=False, handletextpad=0.1)
    axes = figure.add_axes((0, 0, inches / figure.get_figwidth(), 0.95), xlim=(-1.75, 1.75), ylim=(-1.66, 1.66))
    axes.set_axis_off()
    cube = LineCollection([], color="0.8", linewidth=1, animated=True)
    cloud = PathCollection([], edgecolors="white", linewidths=0.2, animated=True)
    for artist in (cube, cloud):
        axes.add_collection(artist)
    cloud.set(transform=IdentityTransform(), offset_transform=axes.transData)
    give_fonts(figure)
    canvas.draw()  # without the animated artists
    background = canvas.copy_from_bbox(figure.bbox)

    shapes = [MarkerStyle(marker) for _, marker in styles]
    paths = np.array([shape.get_path().transformed(shape.get_transform()) for shape in shapes])[labels]
    colours = to_rgba_array([colour for colour, _ in styles])[labels]
    points = points / (np.quantile(np.abs(points), 0.98) or 1)  # 0: all are at one place
    size = np.clip(8000 / len(points), 14, 36)  # of a marker, in square points
    frames = []
    for turn in np.arange(FRAMES) * 2 * np.pi / FRAMES:
        canvas.restore_region(background)
        corners, _ = _view(CUBE, turn)
        cube.set_segments([corners[[i, j]] for i, j in EDGES])
        places, near = _view(points, turn)
        order = np.argsort(near, kind="stable")  # near points are drawn over far points
        cloud.set(paths=paths[order], facecolors=colours[order], offsets=places[order])
        cloud.set_sizes(size * (1 + 0.4 * near[order]).clip(0.3), dpi=figure.dpi)
        axes.draw_artist(cube)
        axes.draw_artist(cloud)
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))

    palette = Image.new("P", (1, 1))  # the same for all frames, so that colours do not flicker
    tints = [to_rgb(colour) for colour in ["black", *dict.fromkeys(colour for colour, _ in styles)]]
    shades = np.multiply.outer(1 - np.array(tints), np.linspace(0, 1, 12))  # each from white to the full colour
    palette.putpalette((255 * (1 - shades)).round().astype(np.uint8).transpose(0, 2, 1).ravel().tolist())
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(path, save_all=True, append_images=others, duration=MILLISECONDS, loop=0)


def left_out_gif(title: str, reason: str, path: Path) -> None:
    """Writes a GIF of one frame that says why there are no points."""
    figure = Figure(figsize=(PIXELS / 100, PIXELS / 100), dpi=100)
    canvas: Any = FigureCanvasAgg(figure)  # as above
    figure.suptitle(title, x=0.02, ha="left")
    figure.text(0.5, 0.5, fill(f"Left out: {reason}", 50), ha="center", va="center")
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L").save(path)


def _view(points: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Projects points onto the picture after a turn about the y axis.

    Args:
        points: (n, 3).
        turn: in radians.

    Returns:
        Places in the picture, (n, 2), and nearness to the camera, (n,).
    """
    x, y, z = points.T
    right = x * np.cos(turn) + z * np.sin(turn)
    front = z * np.cos(turn) - x * np.sin(turn)
    up = y * np.cos(ELEVATION) - front * np.sin(ELEVATION)
    near = y * np.sin(ELEVATION) + front * np.cos(ELEVATION)
    return np.stack([right, up], axis=1) / (1 - 0.1 * near[:, None]), near
