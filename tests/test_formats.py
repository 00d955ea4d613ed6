import pytest
from encode import OF_FFMPEG, OF_LIBSNDFILE, sound_file, tone

from kws.audio.formats import HEAD_BYTES, is_hidden, is_sound, needs_ffmpeg, sound_format


@pytest.mark.parametrize("kind", [*OF_FFMPEG, *OF_LIBSNDFILE])
def test_sound_is_known_by_how_it_begins_whatever_its_name(kind):
    rate = 8000 if "amr" in kind else 48_000
    head = sound_file(kind, tone(rate, 0.2), rate)[:HEAD_BYTES]
    assert sound_format(head)
    assert needs_ffmpeg(head) == (kind in OF_FFMPEG)
    for name in ("a.wav", "a", "a.txt", f"yes/a.{kind}"):
        assert is_sound(name, head)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("wav", "WAV"),
        ("rf64", "WAV"),
        ("w64", "WAV"),
        ("m4a", "MP4, M4A or 3GP (AAC, ALAC, AMR)"),
        ("3gp", "MP4, M4A or 3GP (AAC, ALAC, AMR)"),
        ("webm", "WebM or Matroska"),
        ("aac", "AAC"),
        ("amr", "AMR"),
        ("wma", "WMA"),
        ("wv", "WavPack"),
        ("oga", "Ogg"),
        ("opus", "Ogg"),
        ("mp3", "MP3"),
        ("aiff", "AIFF"),
        ("caf", "CAF"),
        ("au", "AU"),
    ],
)
def test_formats_have_the_names_that_people_know(kind, named):
    assert sound_format(sound_file(kind, tone(8000, 0.2), 8000)[:HEAD_BYTES]) == named


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"this is a text",
        b"name,word,speaker\n",
        b"%PDF-1.7",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"PK\3\4",
        b"\x7fELF",
        b"\xff\xfeU\0T\0F\0",  # UTF-16
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"<!DOCTYPE html>",
        b"{}",
        *(b"\0\0\0\x18ftyp" + brand for brand in (b"heic", b"heix", b"heif", b"hevc", b"avif", b"mif1", b"msf1")),
    ],
)
def test_what_is_no_sound_is_none_but_by_its_name(head):
    assert sound_format(head) is None
    assert not is_sound("notes.txt", head)
    assert not is_sound("wav", head)
    assert is_sound("yes/damaged.WAV", head)


@pytest.mark.parametrize(
    "name",
    [
        *("._a.wav", "yes/._a.wav", ".DS_Store", "__MACOSX/yes/a.wav", "x/Thumbs.db", "desktop.ini"),
        *(".old/yes/a.wav", "rec/.git/yes/a.wav", "yes/Icon\r"),
    ],
)
def test_what_systems_put_beside_the_files_is_hidden(name):
    assert is_hidden(name)


@pytest.mark.parametrize(
    "name", ["a.wav", "yes/a.b.wav", "my.folder/a.wav", "_a.wav", "MACOSX/a.wav", "../a.wav", "./a.wav"]
)
def test_what_people_put_there_is_not(name):
    assert not is_hidden(name)
