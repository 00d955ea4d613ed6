"""Writes the same features as `kws.featurize.write`, a shard a task, by workers that share no memory.

A plan on disk says which recordings make which shard, and where in the archives they lie. It takes no memory for each.
A worker reads the recordings of its shard, writes it whole, and answers with the rows of the manifest.
"""

import errno
import hashlib
import io
import itertools
import json
import os
import platform
import shutil
import sqlite3
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import kws
from kws.audio.decode import decode_recording
from kws.audio.frontend import BLAS_THREADS, FrontEnd
from kws.core import paths
from kws.core.arrays import StoredArrays, write_arrays
from kws.core.errors import UserError
from kws.featurize.compute import Features, compute_recording, compute_silence
from kws.featurize.report import MANIFEST_COLUMNS, Row, manifest_row
from kws.featurize.splits import Chosen
from kws.featurize.write import Recipe
from kws.recordings.archive import MAX_MEMBER_BYTES, is_plain_tar, parts_of, places_in, write_plain_tar
from kws.recordings.background import Background, is_nobody
from kws.recordings.clips import SPLITS, Clip
from kws.recordings.source import DataSource
from kws.records.write import record_of, shard_of, shards_for

if TYPE_CHECKING:
    from distributed import Client

MADE = -1  # the archive and the part that silent clips are in: none
TEST_RATE = 48_000  # of the sound by which computers are compared, in Hz: that of Opus
_COMPUTE = ("audio", "core", "featurize", "recordings", "records")  # the packages that a worker computes with
_LIBRARIES = ("av", "numpy", "pymicro-features", "scipy", "soundfile", "soxr")
_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = FILE;
PRAGMA cache_size = -65536;
CREATE TABLE chosen (archive INTEGER, name TEXT, word TEXT, speaker TEXT, label TEXT, split TEXT, shard TEXT,
    PRIMARY KEY (archive, name)) WITHOUT ROWID;
CREATE TABLE found (position INTEGER PRIMARY KEY, archive INTEGER, name TEXT, part INTEGER, first INTEGER,
    size INTEGER);
CREATE TABLE work (shard TEXT, position INTEGER, name TEXT, word TEXT, speaker TEXT, label TEXT, split TEXT,
    archive INTEGER, part INTEGER, first INTEGER, size INTEGER, PRIMARY KEY (shard, position)) WITHOUT ROWID;
CREATE TABLE rows (position INTEGER, number INTEGER, row TEXT, PRIMARY KEY (position, number)) WITHOUT ROWID;
"""
_FIND_MADE = """
INSERT INTO found (archive, name, part, first, size) SELECT archive, name, archive, 0, 0 FROM chosen
    WHERE archive = ? ORDER BY name -- as `choose` sorts them
"""
_JOIN = """
INSERT INTO work SELECT shard, position, name, word, speaker, label, split, archive, part, first, size
    FROM found JOIN chosen USING (archive, name) ORDER BY shard, position;
DROP TABLE found; DROP TABLE chosen;
"""


@dataclass(frozen=True)
class Placed:
    """A recording of a shard, and where it lies.

    Attributes:
        position: among all recordings of the experiment.
        choice: the recording.
        archive: number of its archive.
        part: number of the file that it is in, or MADE.
        first: its first byte there.
        size: in bytes.
    """

    position: int
    choice: Chosen
    archive: int
    part: int
    first: int
    size: int


@dataclass(frozen=True)
class Common:
    """What all shards have in common.

    Attributes:
        recipe: how recordings become records.
        archives: the archives, by number; the recipe knows them.
        parts: plain tar files that hold the recordings, by number.
        noises: a file with the background recordings.
        computer: what must be equal where a shard is made: `computer`.
    """

    recipe: Recipe
    archives: tuple[Path, ...]
    parts: tuple[Path, ...]
    noises: Path
    computer: dict[str, str]


@dataclass(frozen=True)
class Shard:
    """A task: the file to write, of these recordings."""

    target: Path
    recordings: list[Placed]
    common: Common


@dataclass(frozen=True)
class Made:
    """What a worker has made: the file, of so many recordings, and the rows by position and number of the clip."""

    target: Path
    recordings: int
    rows: list[tuple[int, int, str]]


class Plan:
    """Which recordings make which shard, and what became of them: in a file, since there may be many millions.

    The file has no name, so it is gone when the stage ends, however it ends.

    Args:
        folder: where the file takes room.
        chosen: the recordings.
        source: says where their archives are.

    Attributes:
        shards: the files to be made, by split.
        archives: the archives, by number.
        parts: the files in which the recordings have been found, by number.
        silent: whether clips of silence are to be made.
    """

    def __init__(self, folder: Path, chosen: Sequence[Chosen], source: DataSource) -> None:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            # no locks: network file systems have none that work, and nobody else opens it
            address = f"{Path(file.name).absolute().as_uri()}?nolock=1"
            self._database = sqlite3.connect(address, isolation_level=None, uri=True)
            self._database.executescript(_TABLES)
        self._database.execute("BEGIN")
        self.shards = {
            split: shards_for(split, number) for split, number in Counter(one.split for one in chosen).items()
        }
        numbers: dict[Path, int] = {}

        def rows() -> Iterator[tuple[int, str, str, str, str, str, str]]:
            for one in chosen:
                clip, shards = one.clip, self.shards[one.split]
                number = MADE
                if not is_nobody(clip.speaker):
                    number = numbers.setdefault(source.archive_of(one.split, clip.name), len(numbers))
                shard = shards[shard_of(clip.name, len(shards))]
                yield number, clip.name, clip.spoken, clip.speaker, one.label, one.split, shard

        try:
            self._database.executemany("INSERT OR REPLACE INTO chosen VALUES (?, ?, ?, ?, ?, ?, ?)", rows())
        except BaseException:
            self.close()
            raise
        self.archives = tuple(numbers)
        self.parts: list[Path] = []
        [[self.silent]] = self._database.execute("SELECT EXISTS (SELECT 1 FROM chosen WHERE archive = ?)", (MADE,))

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def locate(self, parts_of_archives: Sequence[Sequence[Path]]) -> int:
        """Finds the recordings in plain tar files, those of each archive; says how many there are."""
        add = "INSERT INTO found (archive, name, part, first, size) VALUES (?, ?, ?, ?, ?)"
        for archive, parts in enumerate(parts_of_archives):
            for part in parts:
                number = len(self.parts)
                self.parts.append(part)
                self._database.executemany(add, ((archive, name, number, *at) for name, *at in places_in(part)))
        self._database.execute(_FIND_MADE, (MADE,))
        for statement in _JOIN.split(";"):
            self._database.execute(statement)
        [[recordings]] = self._database.execute("SELECT COUNT(*) FROM work")
        return int(recordings)

    def tasks(self, folder: Path, common: Common) -> Iterator[Shard]:
        """The shards, one after the other."""
        found = self._database.execute("SELECT * FROM work ORDER BY shard, position")
        for shard, rows in itertools.groupby(found, key=lambda row: row[0]):
            placed = [
                Placed(position, Chosen(Clip(name, word, speaker), label, split), *place)
                for _, position, name, word, speaker, label, split, *place in rows
            ]
            yield Shard(folder / shard, placed, common)

    def keep(self, made: Made) -> None:
        """Keeps the rows of a shard."""
        self._database.executemany("INSERT INTO rows VALUES (?, ?, ?)", made.rows)

    def rows(self) -> Iterator[Row]:
        """The rows of the manifest, in the order of the archives."""
        for (row,) in self._database.execute("SELECT row FROM rows ORDER BY position, number"):
            yield dict(zip(MANIFEST_COLUMNS, json.loads(row), strict=True))


def write_features(  # noqa: PLR0913 (as in kws.featurize.write, and the cluster)
    folder: Path, chosen: Sequence[Chosen], source: DataSource, noises: Background, recipe: Recipe, *, where: str
) -> Iterator[Row]:
    """As `kws.featurize.write.write_features`, by the workers of a cluster: the same files, the same rows.

    Args:
        folder: where the shards go.
        chosen: the recordings.
        source: says where their archives are.
        noises: the background recordings.
        recipe: how recordings become records.
        where: the cluster, as KWS_CLUSTER has it. Each worker reaches the project under the same path.

    Raises:
        UserError: there is no such cluster; a shard fails for good; or a worker would compute other bytes.
    """
    from kws.cluster.engine import connected, results_of

    with _full_disk_told(), closing(Plan(paths.scratch("featurize"), chosen, source)) as plan:
        with _shared_folder(folder) as shared, connected(where) as client:
            recordings = plan.locate([_plain_parts(client, archive, shared) for archive in plan.archives])
            stored = shared / "noises.npz"
            if plan.silent:
                with stored.open("wb") as file:
                    parts = ((f"{split}/{name}", part) for split, of in noises.items() for name, part in of.items())
                    write_arrays(file, parts)
            common = Common(recipe, plan.archives, tuple(plan.parts), stored, computer(recipe.front_end))
            tasks = plan.tasks(shared, common)
            with tqdm(desc="featurize", total=recordings, unit="recording", disable=None) as progress:
                for made in results_of(client, make_shard, tasks, lambda shard: shard.target.name):
                    made.target.replace(folder / made.target.name)
                    plan.keep(made)
                    progress.update(made.recordings)
        for name in itertools.chain(*plan.shards.values()):
            (folder / name).touch()  # a shard of no recording
        yield from plan.rows()


@contextmanager
def _full_disk_told() -> Iterator[None]:
    """A full disk is the OSError that it is elsewhere, also where SQLite notices it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        where = "the plan in .scratch/featurize, or what SQLite sorts: SQLITE_TMPDIR"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), where) from None


@contextmanager
def _shared_folder(folder: Path) -> Iterator[Path]:
    """A folder beside the one of the features, in which workers write; nothing of it is among the features.

    Each run has one of its own: a worker that was taken for lost may still write when another run has begun.
    """
    for old in folder.parent.glob(f"{folder.name}-*"):  # of a stage that was killed
        shutil.rmtree(old, ignore_errors=True)
    shared = folder.absolute().with_name(f"{folder.name}-{uuid.uuid4().hex}")
    shared.mkdir()
    try:
        yield shared
    finally:
        shutil.rmtree(shared, ignore_errors=True)  # a network file system keeps files that a worker has open


def _plain_parts(client: "Client", archive: Path, shared: Path) -> list[Path]:
    """The plain tar files of an archive: its parts, or what a worker has unpacked them into."""
    from kws.cluster.engine import results_of

    parts = {part: part.absolute() for part in parts_of(archive)}
    packed = {part: shared / f"{uuid.uuid4().hex}.tar" for part in parts if not is_plain_tar(part)}
    if packed:
        print(
            f"{archive.name}: unpacked for the workers, since it is no plain tar ({len(packed)} of {len(parts)} files)"
        )
    tasks = [(part.absolute(), target) for part, target in packed.items()]
    for _ in results_of(client, _unpack, tasks, lambda task: task[0].name):
        pass
    return list((parts | packed).values())


def _unpack(task: tuple[Path, Path]) -> None:
    part, target = task
    own = target.with_name(uuid.uuid4().hex)
    write_plain_tar(_reached(part), own)
    own.replace(target)


def make_shard(shard: Shard) -> Made:
    """Computes the clips of a shard and writes it whole; another worker may be writing it, too.

    Raises:
        UserError: the worker does not reach the archives, or would compute other bytes.
    """
    _limit_blas()
    common = shard.common
    here = computer(common.recipe.front_end)
    if other := {name: value for name, value in here.items() if common.computer[name] != value}:
        told = ", ".join(f"{name} {value} instead of {common.computer[name]}" for name, value in other.items())
        raise UserError(
            f"a worker on {platform.node()} would compute other bytes, so its shards do not count: it has {told}; "
            "give it the same environment, and the same kind of processor"
        )
    rows: list[tuple[int, int, str]] = []
    own = _reached(shard.target.parent) / uuid.uuid4().hex
    with own.open("wb") as file:
        for place, clips in _computed(shard):
            choice = place.choice
            for number, features in enumerate(clips):
                if features.mel_power is not None:
                    label = common.recipe.labels.get(choice.label, 0)
                    values = (choice.split, features.name, choice.clip.speaker, label, features.mel_power)
                    file.write(record_of(*values, exact=features.exact))
                row = manifest_row(choice, features)
                rows.append((place.position, number, json.dumps(list(row.values()))))
    own.replace(shard.target)
    return Made(shard.target, len(shard.recordings), rows)


@cache
def _limit_blas() -> None:
    """For good: the limit is the process's, and a thread that lifts it would do so for the others of a worker."""
    threadpool_limits(BLAS_THREADS)


def _computed(shard: Shard) -> Iterator[tuple[Placed, list[Features]]]:
    common = shard.common
    front_end, cut_of = common.recipe.front_end, common.recipe.cut_of
    for number, places in itertools.groupby(shard.recordings, key=lambda place: place.part):
        if number == MADE:
            noises = _stored(common.noises)
            yield from ((place, [compute_silence(place.choice, noises, front_end)]) for place in places)
            continue
        with _reached(common.parts[number]).open("rb", buffering=0) as file:
            for place in places:
                data = os.pread(file.fileno(), place.size, place.first) if place.size <= MAX_MEMBER_BYTES else None
                if data is not None and len(data) != place.size:
                    raise UserError(f"{common.parts[number]}: is cut off, or was changed while it was read")
                cut = cut_of[common.archives[place.archive]]
                yield place, compute_recording(place.choice, data, front_end, cut)


@lru_cache(maxsize=1)
def _stored(path: Path) -> dict[str, StoredArrays]:
    """The background recordings of all splits."""
    with _reached(path).open("rb") as file:
        return {split: StoredArrays(file, f"{split}/") for split in SPLITS}


def _reached(path: Path) -> Path:
    if not path.exists():
        raise UserError(
            f"a worker on {platform.node()} does not reach {path}: every worker needs the project's folder under the "
            "same path (a shared file system)"
        )
    return path


@cache
def computer(front_end: FrontEnd) -> dict[str, str]:
    """What must be equal on two machines that are to compute the same bytes, by what it is.

    Versions, the code of kws, and the features of a sound that is decoded and resampled: the last digits may differ
    between processors.
    """
    sound = np.random.default_rng(0).normal(scale=0.1, size=TEST_RATE * front_end.clip_samples // front_end.sample_rate)
    file = io.BytesIO()
    soundfile.write(file, sound, TEST_RATE, format="OGG", subtype="OPUS")
    with threadpool_limits(BLAS_THREADS):
        features = front_end.with_margins(decode_recording(file.getvalue(), front_end.sample_rate).samples)
    return {name: _version(name) for name in _LIBRARIES} | {
        "libsndfile": soundfile.__libsndfile_version__,
        "kws's code": _code(),
        "features of a test sound": hashlib.sha256(features.tobytes()).hexdigest()[:8],
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


@cache
def _code() -> str:
    digest = hashlib.sha256()
    root = Path(kws.__file__).parent
    for path in sorted(path for package in _COMPUTE for path in (root / package).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]
