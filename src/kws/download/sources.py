"""Where a data set comes from: a publisher, an address, or a folder or archive of the user's."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import sha256_of
from kws.download.fetch import fetch
from kws.recordings import licences
from kws.recordings.archive import is_archive, pack_folder, parts_of
from kws.recordings.source import Archive

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Published:
    """An archive at its publisher's address."""

    name: str
    size: int  # bytes
    sha256: str
    licence: str = licences.SPEECH_COMMANDS

    @property
    def address(self) -> str:
        """The publisher's address."""
        return f"https://storage.googleapis.com/download.tensorflow.org/data/{self.name}"


PUBLISHED = {
    "mini_speech_commands": Published(
        "mini_speech_commands.zip", 182_082_353, "49650f2341b26d886b46b3f4fb8fed59e30300b17550f1ee4a768b3106cf93a0"
    ),
    "speech_commands": Published(
        "speech_commands_v0.02.tar.gz",
        2_428_923_189,
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
    "speech_commands_test_set": Published(
        "speech_commands_test_set_v0.02.tar.gz",
        112_563_277,
        "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
    ),
}


def own_path(dataset: str) -> Path | None:
    """Where the user's folder or archive is, or should be; None if `dataset` is synthetic, published, or an address.

    Relative paths start at the project's root.

    Raises:
        UserError: it cannot be a data set, since it contains outputs.
    """
    if dataset == SYNTHETIC or dataset in PUBLISHED or "://" in dataset:
        return None
    root = paths.project_root()
    # links are not followed, since they may change
    path = Path(os.path.abspath(root / os.path.expanduser(dataset)))  # noqa: PTH100, PTH111 (theirs follow, or raise)
    real, raw = path.resolve(), root / paths.RAW
    if raw.is_relative_to(real) or real.is_relative_to(raw):
        raise UserError(f"dataset: {dataset} contains outputs of the project; give a folder that has only recordings")
    return path


def require_own(dataset: str, path: Path) -> None:
    """Checks that the user's folder or archive is there.

    Raises:
        UserError: it is not.
    """
    if not path.is_dir() and not path.is_file():
        names = ", ".join([SYNTHETIC, *PUBLISHED])
        raise UserError(
            f"dataset: {dataset} does not exist ({path}): put your recordings there, or set dataset to {names}, "
            "a folder or an archive of your own, or an address (https:// or file://)"
        )


def refuse_same(dataset: str, other: str) -> None:
    """Checks that two data sets are not the same folder or archive, however they are written.

    Raises:
        UserError: they are.
    """
    if (own := own_path(dataset)) and own == own_path(other):
        raise UserError(f"{dataset} is also dataset; give recordings that are not in it")


def obtain(
    folder: Path, dataset: str, dataset_url: str = "", dataset_sha256: str = ""
) -> tuple[Archive, dict[str, str]]:
    """Downloads, copies or packs the archive of `dataset` into `folder`; and says which files were not packed, and why.

    The publisher's checksum is only for the publisher's address, since a mirror may have packed the files differently.

    Raises:
        UserError: it cannot be read or downloaded, or it is not the expected file.
    """
    if own := own_path(dataset):
        return _obtain_own(folder, dataset, own)
    return _download(folder, dataset, dataset_url, dataset_sha256), {}


def _download(folder: Path, dataset: str, dataset_url: str, dataset_sha256: str) -> Archive:
    if published := PUBLISHED.get(dataset):
        target = folder / published.name
        if not dataset_url:
            digest = fetch(published.address, target, size=published.size, sha256=published.sha256)
            return _archive(target, dataset, published.address, digest, published.licence, checked=True)
        digest = fetch(dataset_url, target, sha256=dataset_sha256)
        return _archive(target, dataset, dataset_url, digest, published.licence, checked=bool(dataset_sha256))
    if urlsplit(dataset).scheme not in ("http", "https", "file"):
        raise UserError(f"dataset: {dataset} is no address that kws can read; use http://, https:// or file://")
    target = folder / _file_name(dataset)
    digest = fetch(dataset, target, sha256=dataset_sha256)
    return _archive(target, dataset, dataset, digest, checked=bool(dataset_sha256))


def synthetic(path: Path, neural_share: float) -> Archive:
    """The archive that `kws.download.voices.synthetic` wrote into a file; Hibari speaks a share of it."""
    licence = licences.ESPEAK_AND_HIBARI if neural_share else licences.ESPEAK
    return _archive(path, SYNTHETIC, "made here, by text-to-speech", sha256_of(path), licence, checked=False)


def _obtain_own(folder: Path, dataset: str, own: Path) -> tuple[Archive, dict[str, str]]:
    not_packed: dict[str, str] = {}
    require_own(dataset, own)
    if own.is_dir() and (parts := _parts(own)):
        target = folder / "parts"
        target.mkdir()
        total = hashlib.sha256()
        for part in parts:
            total.update(os.fsencode(part.name) + f"\0{fetch(part.as_uri(), target / part.name)}\n".encode())
        others = {path.name for path in parts_of(own)} - {part.name for part in parts}
        not_packed = dict.fromkeys(sorted(others), "no archive, beside archives")
        return _archive(target, dataset, dataset, total.hexdigest(), checked=False), not_packed
    if own.is_dir():
        target = folder / "own.tar"
        not_packed = pack_folder(own, target)
    else:
        target = folder / _file_name(own.as_uri())
        fetch(own.as_uri(), target)
    return _archive(target, dataset, dataset, sha256_of(target), checked=False), not_packed


def _parts(own: Path) -> list[Path]:
    """The archives in a folder that holds no other folders, by name: together they are the data set."""
    there = parts_of(own)
    return [] if any(path.is_dir() for path in there) else [path for path in there if is_archive(path)]


def _archive(  # noqa: PLR0913 (an archive has that much of an origin)
    path: Path, dataset: str, address: str, sha256: str, licence: str = licences.NOT_KNOWN, *, checked: bool
) -> Archive:
    """The archive in a file, or a folder of its parts; its size is theirs, and no credentials are in its addresses."""
    return Archive(
        dataset=public_address(dataset),
        archive=path.name,
        address=public_address(address),
        bytes=sum(part.stat().st_size for part in parts_of(path)),
        sha256=sha256,
        checked=checked,
        licence=licence,
    )


def _file_name(address: str) -> str:
    name = PurePosixPath(unquote(urlsplit(address).path)).name
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "archive"
