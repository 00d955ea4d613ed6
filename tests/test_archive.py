import gzip
import io
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from encode import encoded, sound_file, tone

from kws.core.errors import UserError
from kws.recordings import archive
from kws.recordings.archive import pack_folder, read_contents, read_members

NOISE = random.Random(1).randbytes(3000)  # compresses to no less
FILES = {"yes/ann_nohash_0.wav": NOISE, "no/ann_nohash_0.wav": b"", "no/bob_nohash_0.wav": b"RIFF" * 2000}
WRITERS = ("a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz")


def names_in(path: Path) -> list[str]:
    """The names of an archive's files, read to its end."""
    return [name for name, _ in read_members(path)]


def write(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in files.items():
                zipped.writestr(name, data)
    else:
        compression = path.suffix.removeprefix(".").replace("tar", "")
        with tarfile.open(path, f"w:{compression}") as tar:
            for name, data in files.items():
                add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_names_and_data_in_archive_order(tmp_path, name):
    path = write(tmp_path / name, FILES)
    assert list(read_members(path)) == list(FILES.items())
    assert names_in(path) == list(FILES)


@pytest.mark.parametrize("name", WRITERS)
def test_only_what_is_wanted_is_given(tmp_path, name):
    path = write(tmp_path / name, FILES)
    assert dict(read_members(path, {"no/bob_nohash_0.wav"})) == {"no/bob_nohash_0.wav": b"RIFF" * 2000}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_names_come_without_what_does_not_matter_in_them(tmp_path, name):
    path = write(tmp_path / name, {"./yes/a.wav": b"1", "no//b.wav": b"2"})
    assert names_in(path) == ["yes/a.wav", "no/b.wav"]
    assert dict(read_members(path, {"yes/a.wav"})) == {"yes/a.wav": b"1"}


def test_folders_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes", kind=tarfile.DIRTYPE)
        add(tar, "yes/a.wav", b"1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.mkdir("yes")
        zipped.writestr("yes/a.wav", b"1")
    assert names_in(tmp_path / "a.tar") == names_in(tmp_path / "a.zip") == ["yes/a.wav"]


@pytest.mark.parametrize("name", ["../x.wav", "yes/../../x.wav", "/etc/x.wav", "..\\x.wav", "yes/\nx.wav"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_a_name_that_no_clip_has_is_refused(tmp_path, kind, name):
    path = write(tmp_path / kind, {"yes/a.wav": b"1", name: b"2"})
    with pytest.raises(UserError, match=r"a\.\w+: refused.*x\.wav"):
        names_in(path)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_what_systems_put_there_does_not_count_whatever_its_name(tmp_path, kind):
    path = write(tmp_path / kind, {"yes/a.wav": b"1", "yes/Icon\r": b"", ".old/yes/b.wav": b"2"})
    assert list(read_contents(path).recordings) == ["yes/a.wav"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused_by_name(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes/a.wav", b"1")
        add(tar, "yes/b.wav", kind=kind, target="yes/a.wav")
    with pytest.raises(UserError, match=r"a\.tar: refused.*yes/b\.wav.* is a link, a device"):
        names_in(tmp_path / "a.tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("yes/b.wav")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"yes/b\.wav.* is a link"):
        names_in(tmp_path / "a.zip")


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_cut_off_anywhere_is_found_out(tmp_path, name):
    whole = write(tmp_path / name, FILES).read_bytes()
    # tar ends with 2 blocks of zeros and fills up to 20: what misses only in the filling is whole
    end = 512 * (3 + 6 + 16) + 511 if name == "a.tar" else len(whole) - 1
    for length in sorted({1, 300, 511, 512, 1024, 1536, 4000, 4096, 5120, len(whole) // 2, end}):
        if length > end:
            continue
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"{name}: no archive, or cut off or damaged"):
            names_in(tmp_path / name)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_damage_to_any_bit_is_found_by_checksum(tmp_path, name):
    whole = write(tmp_path / name, FILES).read_bytes()
    chance = random.Random(2)
    missed = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / name).write_bytes(damaged)
        try:
            names_in(tmp_path / name)
        except UserError:
            continue
        missed += 1
    assert missed <= 6  # fields that nobody reads, such as times


@pytest.mark.parametrize("offset", [0, 512 + 3072, 512 + 3072 + 512])
def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(tmp_path, offset):
    content = bytearray(write(tmp_path / "a.tar", FILES).read_bytes())
    content[offset] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tar: no archive, or cut off or damaged"):
        names_in(tmp_path / "a.tar")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>", b"\n <HTML lang=en>sign in"])
def test_an_html_page_is_said_to_be_one(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: it is an HTML page, not an archive"):
        names_in(tmp_path / "a.zip")


NO_TAR = gzip.compress(b"no tar " * 1000, mtime=0)  # the bytes name the test: processes must agree on them


@pytest.mark.parametrize("content", [b"{}", b"some text " * 100, NO_TAR, b"PK"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="a: no archive, or cut off or damaged"):
        names_in(tmp_path / "a")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "a.zip").touch()
    with pytest.raises(UserError, match=r"a\.zip: the file is empty"):
        names_in(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_of_nothing_lists_nothing(tmp_path, name):
    assert names_in(write(tmp_path / name, {})) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_file_above_the_limit_comes_without_its_data(tmp_path, name, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 20_000)
    path = write(tmp_path / name, {"yes/large.wav": bytes(20_001), "yes/small.wav": bytes(20_000)})
    assert dict(read_members(path)) == {"yes/large.wav": None, "yes/small.wav": bytes(20_000)}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("files", [{"a/b.wav": bytes(10**6)}, {f"a/{i}.wav": bytes(10**5) for i in range(10)}])
def test_a_bomb_of_zeros_is_refused(tmp_path, name, files, monkeypatch):
    monkeypatch.setattr(archive, "FREE_EXPANSION_BYTES", 1000)
    path = write(tmp_path / name, files)
    monkeypatch.setattr(archive, "MAX_EXPANSION", 900_000 // path.stat().st_size)
    with pytest.raises(UserError, match=r"refused, since it unpacks to over \d+ times"):
        names_in(path)


def test_a_bomb_in_a_file_too_large_to_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_EXPANSION_BYTES", 1000)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 50_000)
    path = write(tmp_path / "a.tar.gz", {"a/b.wav": bytes(10**6)})
    with pytest.raises(UserError, match="unpacks to over 200 times"):
        names_in(path)


def test_a_bomb_in_a_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 50_000)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        add(tar, "name", bytes(10**6), kind=tarfile.GNUTYPE_LONGNAME)
    with pytest.raises(UserError, match=r"a header of 1,000,\d+ bytes"):
        names_in(tmp_path / "a.tar.gz")


def test_a_zip_that_declares_less_than_it_holds_is_found_out(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": bytes(100_000)})
    size = (100_000).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 2
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="cut off or damaged"):
        names_in(path)


def test_an_encrypted_zip_is_said_to_be_one(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": NOISE})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a/b\.wav.* is encrypted"):
        names_in(path)


def test_a_zip_packed_by_an_unknown_method_says_what_can_be_read(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": NOISE})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + offset] = 9  # Deflate64
    path.write_bytes(content)
    with pytest.raises(UserError, match="pack it as tar or zip with deflate"):
        names_in(path)


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes/a.wav", b"1")
        add(tar, "./yes/a.wav", b"2")
    with pytest.raises(UserError, match=r"holds yes/a\.wav twice"):
        read_contents(tmp_path / "a.tar")


def make_folder(folder: Path) -> Path:
    for name in ("yes/ann/1.wav", "yes/ben/1.FLAC", "no/ann/2.opus", "no/readme.txt", "no/.hidden.wav", "loose.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_is_packed_recordings_and_tables_alone_and_sorted_and_the_others_are_told(tmp_path):
    folder = make_folder(tmp_path / "mine")
    (folder / "splits.CSV").write_bytes(b"splits.CSV")
    left_out = pack_folder(folder, tmp_path / "own.tar")
    assert left_out == {"no/readme.txt": "no sound"}
    names = ["loose.wav", "no/ann/2.opus", "splits.CSV", "yes/ann/1.wav", "yes/ben/1.FLAC"]
    assert list(read_members(tmp_path / "own.tar")) == [(name, name.encode()) for name in names]


def test_a_name_in_another_code_than_utf_8_is_told_in_letters_that_can_be_printed(tmp_path):
    folder = make_folder(tmp_path / "mine")
    Path(os.fsdecode(os.fsencode(folder / "no") + b"/notiz\xe9.txt")).write_text("x")
    left_out = pack_folder(folder, tmp_path / "own.tar")
    assert left_out == {"no/notiz\\xe9.txt": "no sound", "no/readme.txt": "no sound"}
    assert all(name.encode() for name in left_out)


def test_a_folder_packed_later_from_another_place_gives_the_same_bytes(tmp_path):
    pack_folder(make_folder(tmp_path / "mine"), tmp_path / "own.tar")
    other = make_folder(tmp_path / "other")
    (other / "yes/ann/1.wav").chmod(0o600)
    pack_folder(other, tmp_path / "other.tar")
    assert (tmp_path / "own.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


def test_a_link_to_a_recording_is_packed_as_the_recording(tmp_path):
    folder = make_folder(tmp_path / "mine")
    (folder / "yes/ann/link.wav").symlink_to(folder / "no/ann/2.opus")
    pack_folder(folder, tmp_path / "own.tar")
    assert dict(read_members(tmp_path / "own.tar"))["yes/ann/link.wav"] == b"no/ann/2.opus"


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def _link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _empty(path: Path) -> None:
    for file in path.parent.parent.rglob("*.*"):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_broken_link, r"yes/b\.wav: is no regular file"),
        (_link_to_a_device, r"yes/b\.wav: is no regular file"),
        (_empty, "holds no recordings; they belong in <word>/<file>"),
    ],
)
def test_a_folder_that_cannot_be_packed_says_why(tmp_path, spoil: Callable[[Path], None], message):
    folder = make_folder(tmp_path / "mine")
    spoil(folder / "yes/b.wav")
    with pytest.raises(UserError, match=message):
        pack_folder(folder, tmp_path / "own.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_link_to_a_folder_is_refused_since_its_changes_would_go_unnoticed(tmp_path):
    folder = make_folder(tmp_path / "mine")
    (folder / "up").symlink_to(folder / "no")
    with pytest.raises(UserError, match=r"mine/up: is a link to a folder"):
        pack_folder(folder, tmp_path / "own.tar")


def test_a_recording_or_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "mine")

    def deny(path: Path, *_: str) -> io.BytesIO:
        raise PermissionError(13, "Permission denied", str(path))

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *mode: (deny if path.suffix == ".opus" else opened)(path, *mode)
    )  # root may read everything
    with pytest.raises(UserError, match=r"no/ann/2\.opus: cannot be read: permission denied"):
        pack_folder(folder, tmp_path / "own.tar")
    monkeypatch.setattr(archive.os, "scandir", deny)
    with pytest.raises(UserError, match="mine: cannot be read: Permission denied"):
        pack_folder(folder, tmp_path / "own.tar")


def coded_zip(path: Path, names: list[bytes], flag: int = 0) -> Path:
    """A zip whose names are these bytes; without the flag that says that they are UTF-8."""
    stand_ins = [f"{'x' * (len(name) - 3)}{number:03d}".encode() for number, name in enumerate(names)]
    with zipfile.ZipFile(path, "w") as zipped:
        for stand_in in stand_ins:
            zipped.writestr(zipfile.ZipInfo(stand_in.decode()), b"sound of " + stand_in)
    content = path.read_bytes()
    for stand_in, name in zip(stand_ins, names, strict=True):
        head, _, tail = content.partition(b"sound of " + stand_in)  # the data keep the stand-in
        assert stand_in in head
        content = head.replace(stand_in, name) + b"sound of " + stand_in + tail.replace(stand_in, name)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content = bytearray(content)
        place = -1
        while (place := content.find(signature, place + 1)) >= 0:
            content[place + offset : place + offset + 2] = flag.to_bytes(2, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("utf-8", ["gr\u00fcn", "кофе", "咖啡"]),  # without the flag, as macOS writes it
        ("utf-8", ["gru\u0308n", "Zoe\u0308"]),
        ("cp437", ["gr\u00fcn", "caf\u00e9", "ma\u00f1ana"]),
        ("cp850", ["gr\u00fcn", "a\u00e7\u00e3o", "\u00d8l", "N\u00c3O"]),
        ("cp866", ["кофе", "да", "чай"]),
        ("cp866", ["да", "нет"]),
        ("gbk", ["咖啡", "茶"]),
        ("cp932", ["コーヒー", "アール"]),
        ("cp932", ["表", "はい"]),  # the second byte is a backslash
        ("cp932", ["コーヒー", "お茶"]),
        ("cp1252", ["gr\u00fcn"]),
        ("cp1252", ["gr\u00fcn", "Zo\u00eb", "don\u2019t"]),
        ("cp1251", ["кофе"]),
        ("cp1251", ["да", "нет"]),
        ("cp866", ["кофе"]),
        ("cp1250", ["\u0142\u00f3d\u017a"]),
        ("cp852", ["\u017ad\u017ab\u0142o", "\u0142\u00f3d\u017a"]),
        ("gbk", ["左", "右", "你好"]),
    ],
)
def test_names_of_a_zip_from_windows_and_macos_are_read_by_their_code_page(tmp_path, page, words):
    names = [f"set/{word}/a.wav" for word in words]
    path = coded_zip(tmp_path / "a.zip", [name.encode(page) for name in names])
    assert names_in(path) == names
    assert [data[:9] for _, data in read_members(path, set(names))] == [b"sound of "] * len(names)


@pytest.mark.parametrize(
    ("page", "word", "remarks"),
    [
        (
            "cp850",
            "wei\u00df \u00d8",
            ("names in the zip are not UTF-8: read as cp850 (wei\u00df \u00d8); if they look wrong, pack it anew",),
        ),
        ("utf-8", "gr\u00fcn \u2013 \U0001f600", ()),
        ("ascii", "yes", ()),
    ],
)
def test_a_guess_of_the_code_page_is_told(tmp_path, page, word, remarks):
    path = coded_zip(tmp_path / "a.zip", [f"{word}/{number}.wav".encode(page) for number in range(2)])
    contents = read_contents(path)
    assert list(contents.recordings) == [f"{word}/0.wav", f"{word}/1.wav"]
    assert contents.remarks == remarks


def test_a_zip_within_a_tar_is_no_guess(tmp_path):
    inner = coded_zip(tmp_path / "inner.zip", [b"wei\xe1/1.wav", b"wei\xe1/2.wav"]).read_bytes()
    assert read_contents(write(tmp_path / "a.tar", {"yes/a.wav": b"1", "yes/notes.zip": inner})).remarks == ()


def test_names_that_no_code_page_makes_words_of_are_read_as_zip_says(tmp_path):
    names = ["a\u00f1o/\u00b01.wav", "a\u00f1o/\u00b02.wav"]
    assert names_in(coded_zip(tmp_path / "a.zip", [name.encode("cp437") for name in names])) == names


def test_names_that_are_marked_as_utf_8_are_it(tmp_path):
    names = ["gr\u00fcn/a.wav", "кофе/a.wav"]
    assert names_in(coded_zip(tmp_path / "a.zip", [name.encode() for name in names], flag=0x800)) == names


def test_backslashes_are_folders(tmp_path):
    path = coded_zip(tmp_path / "a.zip", [b"set\\yes\\ann\\1.wav", b"set\\no\\ann\\1.wav"])
    assert names_in(path) == ["set/yes/ann/1.wav", "set/no/ann/1.wav"]
    assert dict(read_members(path, {"set/no/ann/1.wav"})) == {"set/no/ann/1.wav": read_all(path)["set/no/ann/1.wav"]}


def read_all(path: Path) -> dict[str, bytes]:
    return dict(read_members(path))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
        (b"Rar!\x1a\7\0", "RAR"),
        (b"Rar!\x1a\7\1\0", "RAR"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
        (b"\x04\x22\x4d\x18", "LZ4"),
    ],
)
def test_archives_of_other_kinds_are_named(tmp_path, head, kind):
    (tmp_path / "words.bin").write_bytes(head + bytes(600))
    message = rf"^words\.bin: a {kind} archive is not read; unpack it, and pack the folder as zip or tar$"
    with pytest.raises(UserError, match=message):
        names_in(tmp_path / "words.bin")


def wav_of(samples: np.ndarray, *, rate: int = 8000) -> bytes:
    return encoded(samples, rate)


def test_the_contents_are_recordings_tables_and_what_is_neither(tmp_path):
    files = {
        "yes/a.wav": wav_of(tone(8000, 0.1)),
        "yes/b.dat": sound_file("m4a", tone(8000, 0.1), 8000),  # sound by its content
        "yes/broken.wav": b"",  # and by its name
        "yes/notes.txt": b"words",
        "splits.csv": b"LINK,SPEAKER\n",
        "yes/._a.wav": b"resource fork",
        "__MACOSX/yes/a.wav": wav_of(tone(8000, 0.1)),
        "yes/.DS_Store": b"x",
        "Thumbs.db": b"x",
    }
    contents = read_contents(write(tmp_path / "a.zip", files))
    assert list(contents.recordings) == ["yes/a.wav", "yes/b.dat", "yes/broken.wav"]
    assert contents.tables == {"splits.csv": "LINK,SPEAKER\n"}
    assert contents.left_out == {"yes/notes.txt": "no sound"}


def test_a_copy_is_known_by_its_sound_whatever_a_program_wrote_into_its_header(tmp_path):
    wav = wav_of(tone(8000, 0.1))
    place = wav.index(b"data")
    files = {
        "yes/a.wav": wav,
        "yes/copy.wav": wav,
        "yes/tagged.wav": wav[:place] + b"LIST\4\0\0\0abcd" + wav[place:],
        "yes/tagged with data.wav": wav[:place] + b"LIST\x0c\0\0\0INFOdata\1\0\0\0" + wav[place:],
        "yes/tagged at its end.wav": wav + b"LIST\4\0\0\0abcd",
        "yes/without a size.wav": wav[: place + 4] + b"\xff\xff\xff\xff" + wav[place + 8 :],
        "yes/other.wav": wav_of(tone(8000, 0.1, 441)),
        "yes/a.flac": encoded(tone(8000, 0.1), 8000, "FLAC"),
        "yes/copy.flac": encoded(tone(8000, 0.1), 8000, "FLAC"),
        "no/silent.wav": wav_of(np.zeros(800)),
        "no/silent too.wav": wav_of(np.zeros(800)),
        "no/empty.wav": b"",
    }
    digests = read_contents(write(tmp_path / "a.tar", files)).recordings
    copies = [name for name, digest in digests.items() if digest == digests["yes/a.wav"] != ""]
    tagged = ["yes/tagged.wav", "yes/tagged with data.wav", "yes/tagged at its end.wav", "yes/without a size.wav"]
    assert sorted(copies) == sorted(["yes/a.wav", "yes/copy.wav", *tagged])
    assert digests["yes/a.flac"] == digests["yes/copy.flac"]
    assert len({digest for name, digest in digests.items() if name.startswith("yes/")}) == 3
    assert {name: digests[name] for name in digests if name.startswith("no/")} == {
        "no/silent.wav": "",
        "no/silent too.wav": "",
        "no/empty.wav": "",
    }
    assert read_contents(write(tmp_path / "a.zip", files)).recordings == digests


ARCHIVES = ROOT.parent / "shared" / "field" / "archives"


@pytest.mark.skipif(not ARCHIVES.exists(), reason=f"needs the archives in {ARCHIVES}")
@pytest.mark.parametrize("name", ["backslash.zip", "macos_nfd_no_flag.zip"])
def test_archives_from_the_field_have_folders_of_words(name):
    contents = read_contents(ARCHIVES / name)
    assert contents.left_out == {}
    assert all(name.count("/") >= 1 and name.endswith(".wav") for name in contents.recordings)
    assert len(contents.recordings) > 3
