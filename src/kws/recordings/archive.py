"""Reads archives of recordings file by file, without unpacking them to disk.

A data set may also be several archives, its parts, in a folder: they are read one after the other, by name.
"""

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from tqdm import tqdm

from kws.audio.formats import HEAD_BYTES, is_hidden, is_sound
from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.naming import first_names
from kws.core.tables import Texts

MAX_MEMBER_BYTES = 256 * 2**20  # 25 minutes of a CD's sound: no recording of a word
NO_SOUND = "no sound"  # a reason
MAX_EXPANSION = 200  # an archive may grow to this many times its size ...
FREE_EXPANSION_BYTES = 2**30  # ... and by this much, for small archives of digital silence
_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_OTHER_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
    b"MSCF": "CAB",
}
# Of zip archives that do not say how their names are coded: MS-DOS and Windows, by country. The first one by which all
# names are words is taken; of two that share bytes, the one with fewer characters comes first.
_CODE_PAGES = (
    *("cp437", "cp850", "cp866", "cp1251", "cp852", "gb2312", "cp932", "cp1252", "cp1250", "gbk", "big5", "cp949"),
)
_SIGNS = "\u30fc\u3005\u309d\u309e\u30fd\u30fe\u2018\u2019\u2013\u2014"  # of words: Japanese marks, apostrophes, dashes
# No words: Greek, which code page 437 has for mathematics; Cyrillic beside Latin; a Chinese character within Latin; a
# capital after a small letter; a sign that only half of a Chinese or Japanese character would be.
_NO_WORD = re.compile(
    r"[\u00b5\u0370-\u03ff]|[A-Za-z\u00c0-\u024f][\u0400-\u052f]|[\u0400-\u052f][A-Za-z\u00c0-\u024f]"
    r"|[a-z][\u4e00-\u9fff]+[a-z]|[^\x00-\x7f][\[\]^`{|}~@]"
)


@dataclass(frozen=True)
class Contents:
    """What an archive holds.

    Attributes:
        recordings: a digest of the sound by name. Equal digests mean equal recordings; sound that is one value all
            through has the digest "".
        tables: CSV files by name, which may say who speaks.
        left_out: the other files, with the reason.
        remarks: on names that had to be guessed, a line each.
    """

    recordings: Texts
    tables: Texts
    left_out: dict[str, str]
    remarks: tuple[str, ...] = ()


def read_contents(path: Path) -> Contents:
    """Reads an archive, or all parts of one, to its end, which checks all checksums.

    Raises:
        UserError: as in `read_members`, or two files have the same name.
    """
    recordings, tables = Texts(), Texts()
    left_out: dict[str, str] = {}
    others: set[str] = set()  # the names of files that are no recordings
    for name, data in tqdm(read_members(path), desc="checking", unit=" files", disable=None):
        hidden = is_hidden(name)
        sound = not hidden and (data is None or is_sound(name, data[:HEAD_BYTES]))
        is_new = recordings.add(name, _sound_digest(data or b"")) if sound else name not in recordings
        if name in others or not is_new:
            raise UserError(f"{path.name}: holds {name} twice; each file may be there once")
        if sound:
            continue
        others.add(name)
        if data is not None and not hidden and name.lower().endswith(".csv"):
            tables.add(name, data.decode("utf-8-sig", errors="replace"))
        elif not hidden:
            left_out[name] = NO_SOUND
    return Contents(recordings, tables, left_out, tuple(line for part in parts_of(path) for line in _remarks(part)))


def _sound_digest(data: bytes) -> str:
    """A digest of a recording; of a WAV without header and tags, since programs write other things there."""
    sound = _wav_samples(data)
    if not sound.strip(sound[:1]):  # silent and empty recordings are no copies of each other
        return ""
    return hashlib.blake2b(sound, digest_size=8).hexdigest()


def _wav_samples(data: bytes) -> bytes:
    """The bytes of a WAV's samples; all bytes of another file."""
    if data[:4] not in (b"RIFF", b"RIFX", b"RF64") or data[8:12] != b"WAVE":
        return data
    order: Literal["big", "little"] = "big" if data[:4] == b"RIFX" else "little"
    place = 12
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], order)
        place += 8
        if kind == b"data":  # size 0 or the largest number: the program did not know it yet
            return data[place : place + size] if 0 < size < 2**32 - 1 else data[place:]
        place += size + size % 2
    return data


def read_members(path: Path, wanted: Container[str] | None = None) -> Iterator[tuple[str, bytes | None]]:
    """Yields name and data of each file in a zip or tar archive (plain, gzip, bzip2, xz), in the archive's order.

    One file is in memory at a time; the data of one above MAX_MEMBER_BYTES is None. Names come without `./`. Sizes
    that the archive declares are not trusted.

    Args:
        path: the archive, or the folder of its parts; a format is recognised by its content, not by its name.
        wanted: names to yield; None: all.

    Raises:
        UserError: it is cut off, damaged, encrypted or no archive; it unpacks to far more than its size; or it
            contains links, devices, or names that lead out of a folder.
    """
    if path.is_dir():
        for part in parts_of(path):
            yield from read_members(part, wanted)
        return
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        _check_head(path, head)
        try:
            if head.startswith(b"PK"):
                yield from _read_zip(path, file, wanted)
            else:
                opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
                yield from _read_tar(path, opener(file) if opener else file, wanted)
        except OSError as error:
            if error.errno:  # the disk's fault, not the archive's
                raise
            raise _damaged(path, error) from None
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise _damaged(path, error) from None
        except NotImplementedError as error:
            raise UserError(f"{path.name}: cannot be read ({error}); pack it as tar or zip with deflate") from None


def parts_of(path: Path) -> list[Path]:
    """The files of a data set: the archive itself, or the parts in a folder, by name."""
    return sorted(part for part in path.iterdir() if not is_hidden(part.name)) if path.is_dir() else [path]


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip or tar archive does, or one that is packed by gzip, bzip2 or xz."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith((b"PK", *_OPENERS)) or is_plain_tar(path)


def is_plain_tar(path: Path) -> bool:
    """Whether a file is a tar that nothing has compressed: then each member is a stretch of it."""
    with path.open("rb") as file:
        return file.read(512)[257:262] == b"ustar"


def places_in(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first byte and size of each file in a plain tar, in its order; names as in `read_members`, which checks it.

    The content is skipped, so this is much faster.
    """
    with tarfile.open(path, "r:", encoding="utf-8", errors="replace") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            if info.isreg():
                yield _safe_name(path, info.name), info.offset_data, info.size


def write_plain_tar(path: Path, target: Path) -> None:
    """Writes the files of an archive into a plain tar, in their order."""
    with written_whole(target) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in read_members(path):
            data = bytes(MAX_MEMBER_BYTES + 1) if content is None else content  # still too large
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all


def _check_head(path: Path, head: bytes) -> None:
    if not head:
        raise UserError(f"{path.name}: the file is empty")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{path.name}: it is an HTML page, not an archive; open its address in a browser to see why")
    for mark, kind in _OTHER_ARCHIVES.items():
        if head.startswith(mark):
            raise UserError(f"{path.name}: a {kind} archive is not read; unpack it, and pack the folder as zip or tar")


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path.name}: no archive, or cut off or damaged ({error}); get or make it again")


def _safe_name(path: Path, name: str) -> str:
    name = name.replace("\\", "/")  # Windows
    parts = name.split("/")
    control = any(ord(character) < ord(" ") for character in name) and not is_hidden(name)  # macOS writes `Icon\r`
    if not parts[0] or ".." in parts or control:
        raise UserError(f"{path.name}: refused, since its member {name!r} has a name that no clip has")
    return str(PurePosixPath(name))


def _special(path: Path, name: str) -> UserError:
    return UserError(f"{path.name}: refused, since its member {name!r} is a link, a device or another special file")


class _Budget:
    """Stops an archive that unpacks to far more than its size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_EXPANSION * path.stat().st_size + FREE_EXPANSION_BYTES

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UserError(f"{self._path.name}: refused, since it unpacks to over {MAX_EXPANSION} times its size")


def _read_zip(path: Path, file: BinaryIO, wanted: Container[str] | None) -> Iterator[tuple[str, bytes | None]]:
    budget = _Budget(path)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for info, given in zip(members, _zip_names(members), strict=True):
            name = _safe_name(path, given)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(path, name)
            if info.is_dir() or not (wanted is None or name in wanted):
                continue
            if info.flag_bits & 1:
                raise UserError(f"{path.name}: its member {name!r} is encrypted; pack it without a password")
            if info.file_size > MAX_MEMBER_BYTES:
                yield name, None
                continue
            with archive.open(info) as stream:
                data = stream.read(MAX_MEMBER_BYTES + 1)  # to the end, where zipfile compares the CRC
            budget.spend(len(data))
            if len(data) != info.file_size:
                raise EOFError(f"{name} has {len(data):,} bytes, not {info.file_size:,}")
            yield name, data


def _zip_names(members: list[zipfile.ZipInfo]) -> list[str]:
    """The names of a zip archive's members. Those that are not marked as UTF-8 are read by the likeliest code page."""
    page = _code_page(members)
    return [
        info.filename if name is None else name.decode(page, "replace")
        for info, name in ((info, _name_bytes(info)) for info in members)
    ]


def _code_page(members: list[zipfile.ZipInfo]) -> str:
    """The likeliest code page of the names that are not marked as UTF-8."""
    coded = [name for name in map(_name_bytes, members) if name is not None]
    try:
        b"".join(coded).decode()
    except UnicodeDecodeError:
        return next((page for page in _CODE_PAGES if _are_words(coded, page)), "cp437")  # as the format says
    return "utf-8"  # other bytes are hardly ever UTF-8 by chance


def _remarks(path: Path) -> tuple[str, ...]:
    """A line on the names of a zip archive if their code page was guessed; the archive was read before."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return ()
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    page = _code_page(members)
    if page == "utf-8":
        return ()
    parts = (part for name in _zip_names(members) for part in re.split(r"[/\\]", name) if not part.isascii())
    shown = first_names(list(dict.fromkeys(parts)))
    return (f"names in the zip are not UTF-8: read as {page} ({shown}); if they look wrong, pack it anew",)


def _name_bytes(info: zipfile.ZipInfo) -> bytes | None:
    """The bytes of a name that is not marked as UTF-8; zipfile has read them as code page 437."""
    try:
        return None if info.flag_bits & 0x800 else info.filename.encode("cp437")
    except UnicodeEncodeError:  # zipfile took a Unicode name from the member's extra field
        return None


def _are_words(names: list[bytes], page: str) -> bool:
    """Whether all that is not ASCII in some names is a letter of a word, by a code page."""
    try:
        text = "/".join(name.decode(page) for name in names)
    except UnicodeDecodeError:
        return False
    letters = {character for character in text if not character.isascii()} - set(_SIGNS)
    kinds = {unicodedata.category(letter) for letter in letters}
    if any(kind[0] != "M" and kind not in ("Ll", "Lu", "Lo", "Lt") for kind in kinds) or _NO_WORD.search(text):
        return False
    if page == "cp1251" and "Lu" in kinds:  # its capitals are the first halves of Chinese characters
        return False
    return not any(
        before.islower() and letter.isupper() and not letter.isascii() for before, letter in itertools.pairwise(text)
    )


def _read_tar(path: Path, file: BinaryIO, wanted: Container[str] | None) -> Iterator[tuple[str, bytes | None]]:
    reader = _ForwardReader(file, _Budget(path))
    # names that are not UTF-8 get a replacement character, since they are written to UTF-8 files later
    with tarfile.open(fileobj=reader, mode="r:", encoding="utf-8", errors="replace") as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            archive.members.clear()  # tarfile would keep them all
            name = _safe_name(path, info.name)
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise _special(path, name)
            if not (wanted is None or name in wanted):
                continue
            if info.size > MAX_MEMBER_BYTES:
                yield name, None
                continue
            data = reader.read(info.size)
            if len(data) != info.size:
                raise EOFError(f"{name} has {len(data):,} bytes, not {info.size:,}")
            yield name, data
        # tarfile takes a damaged header, and a missing one, for the end
        if reader.last_block.strip(b"\0") or len(reader.last_block) != tarfile.BLOCKSIZE:
            raise EOFError("the end mark is missing")
        while reader.read(tarfile.RECORDSIZE):  # gzip compares its CRC at the very end
            pass


class _ForwardReader:
    """The methods of a file that tarfile calls. Seeking forward is reading; all reading is within a budget of bytes."""

    def __init__(self, file: BinaryIO, budget: _Budget) -> None:
        self._file = file
        self._budget = budget
        self._position = 0
        self.last_block = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES:  # only a damaged header asks for more: members are read within the limit
            raise EOFError(f"a header of {size:,} bytes")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        self.last_block = self._file.read(size)
        self._position += len(self.last_block)
        self._budget.spend(len(self.last_block))
        return self.last_block

    def seek(self, position: int) -> None:
        if position < self._position:
            raise EOFError("a size below zero")
        while self._position < position:
            if not self._take(min(position - self._position, 2**20)):
                raise EOFError("unexpected end of data")


def pack_folder(folder: Path, target: Path) -> dict[str, str]:
    """Writes the recordings below `folder`, and CSV files, into an uncompressed tar; same files, same bytes.

    Returns:
        The files that were left out, with the reason.

    Raises:
        UserError: there is no recording; a file cannot be read; or a folder is a link.
    """
    left_out, packed = {}, 0
    names = sorted(name for name in _files_below(folder) if not is_hidden(name))
    with written_whole(target) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in tqdm(names, desc="packing", unit=" files", disable=None):
            path = folder / name
            if not path.is_file():
                raise UserError(f"{path}: is no regular file, or a link to none")
            try:
                with path.open("rb") as file:
                    head = file.read(HEAD_BYTES)
                    sound = is_sound(name, head)
                    if not sound and not name.lower().endswith(".csv"):
                        # a name in another code than UTF-8 can be neither printed nor written as it is
                        left_out[os.fsencode(name).decode(errors="backslashreplace")] = NO_SOUND
                        continue
                    data = head + file.read()
            except PermissionError:
                raise UserError(f"{path}: cannot be read: permission denied") from None
            packed += sound
            info = tarfile.TarInfo(name)  # its defaults are time 0, user 0, mode 0644
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
        if not packed:
            raise UserError(f"{folder}: holds no recordings; they belong in <word>/<file> or <word>/<speaker>/<file>")
    return left_out


def _files_below(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None

    for here, folders, files in os.walk(folder, onerror=refuse):
        for name in folders:
            if (Path(here) / name).is_symlink():  # stage watch does not follow it, and would not see changes
                raise UserError(f"{Path(here) / name}: is a link to a folder; put the folder itself there")
        yield from ((Path(here) / name).relative_to(folder).as_posix() for name in files)
