"""Pictures draw words of every script with the fonts that are there, and say which letters none of them has."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from kws.plots import figures, fonts
from kws.project import turning_gif

PACKAGES = fonts._PACKAGES
HAN, THAI = "咖啡", "กาแฟ"


def make_font(path, name, letters):
    """A font in which each of the letters is a filled rectangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    shapes = {".notdef": TTGlyphPen(None).glyph()} | {f"u{ord(letter):04X}": pen.glyph() for letter in letters}
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(list(shapes))
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):04X}" for letter in letters})
    builder.setupGlyf(shapes)
    builder.setupHorizontalMetrics(dict.fromkeys(shapes, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Gives the machine these fonts, by name, and no others."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))

    def have(*, packages=("kws_no_such_package",), **letters):
        monkeypatch.setattr(fonts, "_PACKAGES", packages)
        paths = [make_font(tmp_path / f"{name}.ttf", f"Kws {name}", of_it) for name, of_it in letters.items()]
        (tmp_path / "damaged.ttf").write_bytes(b"\0\1\0\0 no font")
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "damaged.ttf"), *paths])
        fonts._fonts_for.cache_clear()

    yield have
    fonts._fonts_for.cache_clear()
    font_manager.fontManager._findfont_cached.cache_clear()


def confusion(*words):
    return figures.confusion_figure(np.eye(len(words), dtype=int), words)


def families(figure, word):
    [text, *_] = [text for text in figure.findobj(fonts.Text) if text.get_text() == word]
    return text.get_fontfamily()


@pytest.mark.parametrize("word", ["yes", "grün", "кофе", "καφές", "don\u2019t"])
def test_what_matplotlibs_own_font_has_is_left_as_it_is(machine, tmp_path, capsys, word):
    machine(other=word)
    figure = confusion(word, "no")
    before = families(figure, word)
    figures.save_figure(figure, tmp_path / "a.png")
    assert families(figure, word) == before == ["sans-serif"]
    assert capsys.readouterr().err == ""


def test_letters_come_from_the_fonts_that_are_there_as_few_as_possible(machine, tmp_path, capsys):
    machine(few=HAN[0], han=HAN + THAI[0], thai=THAI, unused="ж")
    figure = confusion(HAN, THAI, f"{HAN} yes")
    figures.save_figure(figure, tmp_path / "a.png")
    assert families(figure, HAN) == families(figure, f"{HAN} yes") == ["sans-serif", "Kws han"]
    assert families(figure, THAI) == ["sans-serif", "Kws thai"]
    assert capsys.readouterr().err == ""


def test_the_letters_of_two_fonts_stand_in_one_text(machine, tmp_path):
    machine(han=HAN, thai=THAI)
    figure = confusion(f"{HAN} {THAI}", "no")
    figures.save_figure(figure, tmp_path / "a.png")
    assert families(figure, f"{HAN} {THAI}") == ["sans-serif", "Kws thai", "Kws han"]


def test_a_plain_font_is_taken_before_a_bold_one_and_a_sans_before_others():
    paths = ["/b/Zen.ttf", "/a/NotoSansThai-Bold.ttf", "/c/NotoSansThai-Regular.ttf", "/a/NotoSerifThai-Regular.ttf"]
    assert sorted(paths, key=fonts._rank) == [paths[2], paths[0], paths[1], paths[3]]


def test_letters_that_no_font_has_are_told_once_in_one_line(machine, tmp_path, capsys):
    machine(han=HAN[0])
    for name in ("a.png", "b.png"):
        figures.save_figure(confusion(HAN, "no"), tmp_path / name)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: no font has the letters {HAN[1]}: pictures show boxes in their place. Install")


def test_turning_pictures_have_the_letters_too(machine, tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(20, 3))
    machine(han=HAN)
    turning_gif.rotating_gif(points, np.arange(20) % 2, [HAN, "no"], f"PCA {HAN}", tmp_path / "a.gif")  # no warning
    assert capsys.readouterr().err == ""
    machine()
    turning_gif.rotating_gif(points, np.arange(20) % 2, [HAN, "no"], f"PCA {HAN}", tmp_path / "b.gif")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (tmp_path / "a.gif").read_bytes() != (tmp_path / "b.gif").read_bytes()


@pytest.mark.parametrize("word", "咖啡 コーヒー 커피 कॉफ़ी কফি காபி กาแฟ កាហ្វេ கோப்பி ቡና".split())  # noqa: SIM905 (shorter)
def test_the_set_up_brings_the_letters_of_most_scripts(machine, tmp_path, capsys, word):
    machine(packages=PACKAGES, other=word)
    figure = confusion(word, "no")
    figures.save_figure(figure, tmp_path / "a.png")
    assert families(figure, word)[1].startswith("Noto Sans")
    assert capsys.readouterr().err == ""


def test_joiners_are_no_letters_that_a_font_must_have(machine, tmp_path, capsys):
    machine()
    figures.save_figure(confusion("می\u200cخواهم", "no"), tmp_path / "a.png")  # noqa: RUF001 (Persian)
    assert capsys.readouterr().err == ""
