import numpy as np
from PIL import Image
from test_projection import make_points

from kws.plots.figures import word_style
from kws.project import projection, turning_gif


def test_a_thousand_clips_of_35_words_stay_below_the_limit(tmp_path):
    points, labels = make_points(words=35, clips=1000)
    words = [f"word{n}" for n in range(35)]
    turning_gif.rotating_gif(projection.orient(points, labels, 35), labels, words, "PCA", tmp_path / "pca.gif")
    assert (tmp_path / "pca.gif").stat().st_size < 3_000_000


def test_each_word_has_its_own_colour_in_the_turning_picture(tmp_path):
    points, labels = make_points(words=10, clips=100)
    turning_gif.rotating_gif(
        projection.orient(points, labels, 10), labels, list("abcdefghij"), "PCA", tmp_path / "a.gif"
    )
    with Image.open(tmp_path / "a.gif") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(100_000)}
    wanted = {tuple(int(part) for part in bytes.fromhex(word_style(n)[0][1:])) for n in range(10)}
    assert wanted <= colours


def test_the_same_points_give_the_same_bytes(tmp_path):
    points, labels = make_points(words=3, clips=50)
    for name in ("a.gif", "b.gif"):
        turning_gif.rotating_gif(points, labels, ["yes", "no", "up"], "PCA", tmp_path / name)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_a_picture_that_is_left_out_says_why_in_one_frame(tmp_path):
    turning_gif.left_out_gif("UMAP, 3 test clips", "3 test clips are too few for UMAP", tmp_path / "umap.gif")
    with Image.open(tmp_path / "umap.gif") as picture:
        assert picture.n_frames == 1
        dark = np.asarray(picture.convert("L")) < 128
    assert dark[: len(dark) // 10].any()  # the title
    assert dark[len(dark) // 3 : -len(dark) // 3].any()  # the reason


def test_clips_at_one_place_are_a_picture_too(tmp_path):
    turning_gif.rotating_gif(np.zeros((3, 3)), np.arange(3), ["yes", "no", "up"], "PCA", tmp_path / "pca.gif")
    assert (tmp_path / "pca.gif").stat().st_size > 0


def test_a_legend_of_many_words_names_the_first_and_counts_the_rest(tmp_path, monkeypatch):
    named: list[str] = []
    legend = turning_gif.Figure.legend
    monkeypatch.setattr(turning_gif, "FRAMES", 1)
    monkeypatch.setattr(
        turning_gif.Figure,
        "legend",
        lambda figure, handles, **more: (
            named.extend(one.get_label() for one in handles) or legend(figure, handles=handles, **more)
        ),
    )
    words = [f"word{n}" for n in range(1000)]
    turning_gif.rotating_gif(np.eye(3), np.array([0, 500, 999]), words, "many", tmp_path / "many.gif")
    assert named == [*words[:59], "and 941 more"]
