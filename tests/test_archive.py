import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kws.core.errors import UserError
from kws.recordings import archive
from kws.recordings.archive import list_members, pack_folder, read_members

NOISE = random.Random(1).randbytes(3000)  # compresses to no less
FILES = {"yes/ann_nohash_0.wav": NOISE, "no/ann_nohash_0.wav": b"", "no/bob_nohash_0.wav": b"RIFF" * 2000}
WRITERS = ("a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz")


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
    assert list_members(path) == list(FILES)


@pytest.mark.parametrize("name", WRITERS)
def test_only_what_is_wanted_is_given(tmp_path, name):
    path = write(tmp_path / name, FILES)
    assert dict(read_members(path, {"no/bob_nohash_0.wav"})) == {"no/bob_nohash_0.wav": b"RIFF" * 2000}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_names_come_without_what_does_not_matter_in_them(tmp_path, name):
    path = write(tmp_path / name, {"./yes/a.wav": b"1", "no//b.wav": b"2"})
    assert list_members(path) == ["yes/a.wav", "no/b.wav"]
    assert dict(read_members(path, {"yes/a.wav"})) == {"yes/a.wav": b"1"}


def test_folders_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes", kind=tarfile.DIRTYPE)
        add(tar, "yes/a.wav", b"1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.mkdir("yes")
        zipped.writestr("yes/a.wav", b"1")
    assert list_members(tmp_path / "a.tar") == list_members(tmp_path / "a.zip") == ["yes/a.wav"]


@pytest.mark.parametrize("name", ["../x.wav", "yes/../../x.wav", "/etc/x.wav", "..\\x.wav", "yes/\nx.wav"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_a_name_that_no_clip_has_is_refused(tmp_path, kind, name):
    path = write(tmp_path / kind, {"yes/a.wav": b"1", name: b"2"})
    with pytest.raises(UserError, match=r"a\.\w+: refused.*x\.wav"):
        list_members(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused_by_name(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes/a.wav", b"1")
        add(tar, "yes/b.wav", kind=kind, target="yes/a.wav")
    with pytest.raises(UserError, match=r"a\.tar: refused.*yes/b\.wav.* is a link, a device"):
        list_members(tmp_path / "a.tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("yes/b.wav")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"yes/b\.wav.* is a link"):
        list_members(tmp_path / "a.zip")


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
            list_members(tmp_path / name)


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
            list_members(tmp_path / name)
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
        list_members(tmp_path / "a.tar")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>", b"\n <HTML lang=en>sign in"])
def test_an_html_page_is_said_to_be_one(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: it is an HTML page, not an archive"):
        list_members(tmp_path / "a.zip")


NO_TAR = gzip.compress(b"no tar " * 1000, mtime=0)  # the bytes name the test: processes must agree on them


@pytest.mark.parametrize("content", [b"{}", b"some text " * 100, NO_TAR, b"PK"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="a: no archive, or cut off or damaged"):
        list_members(tmp_path / "a")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "a.zip").touch()
    with pytest.raises(UserError, match=r"a\.zip: the file is empty"):
        list_members(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_of_nothing_lists_nothing(tmp_path, name):
    assert list_members(write(tmp_path / name, {})) == []


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
        list_members(path)


def test_a_bomb_in_a_file_too_large_to_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_EXPANSION_BYTES", 1000)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 50_000)
    path = write(tmp_path / "a.tar.gz", {"a/b.wav": bytes(10**6)})
    with pytest.raises(UserError, match="unpacks to over 200 times"):
        list_members(path)


def test_a_bomb_in_a_header_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 50_000)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        add(tar, "name", bytes(10**6), kind=tarfile.GNUTYPE_LONGNAME)
    with pytest.raises(UserError, match=r"a header of 1,000,\d+ bytes"):
        list_members(tmp_path / "a.tar.gz")


def test_a_zip_that_declares_less_than_it_holds_is_found_out(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": bytes(100_000)})
    size = (100_000).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 2
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="cut off or damaged"):
        list_members(path)


def test_an_encrypted_zip_is_said_to_be_one(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": NOISE})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a/b\.wav.* is encrypted"):
        list_members(path)


def test_a_zip_packed_by_an_unknown_method_says_what_can_be_read(tmp_path):
    path = write(tmp_path / "a.zip", {"a/b.wav": NOISE})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + offset] = 9  # Deflate64
    path.write_bytes(content)
    with pytest.raises(UserError, match="pack it as tar or zip with deflate"):
        list_members(path)


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "yes/a.wav", b"1")
        add(tar, "./yes/a.wav", b"2")
    with pytest.raises(UserError, match=r"holds yes/a\.wav twice"):
        list_members(tmp_path / "a.tar")


def make_folder(folder: Path) -> Path:
    for name in ("yes/ann/1.wav", "yes/ben/1.FLAC", "no/ann/2.opus", "no/readme.txt", "no/.hidden.wav", "loose.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_is_packed_clips_alone_and_sorted(tmp_path):
    pack_folder(make_folder(tmp_path / "mine"), tmp_path / "own.tar")
    names = ["no/ann/2.opus", "yes/ann/1.wav", "yes/ben/1.FLAC"]
    assert list(read_members(tmp_path / "own.tar")) == [(name, name.encode()) for name in names]


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
        (_empty, "holds no clips; they belong in <word>/<file>"),
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

    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", deny)  # root may read everything
    with pytest.raises(UserError, match=r"no/ann/2\.opus: cannot be read: permission denied"):
        pack_folder(folder, tmp_path / "own.tar")
    monkeypatch.setattr(archive.os, "scandir", deny)
    with pytest.raises(UserError, match="mine: cannot be read: Permission denied"):
        pack_folder(folder, tmp_path / "own.tar")
