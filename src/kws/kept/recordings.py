"""Makes recordings of the kept sounds that people have judged, for the next experiment."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.naming import BACKGROUND, HEARD, UNKNOWN
from kws.kept.folder import Kept, KeptFolder, flac, next_number


@dataclass(frozen=True)
class Made:
    """What has become of the kept sounds.

    Attributes:
        recordings: how many were made now, by their answer.
        moved: how many of these take the place of a recording that was made of another answer.
        before: how many had their recording before.
        elsewhere: how many have it in another data set, by its folder: none is made here.
        unanswered: how many have no answer.
        gone: how many have an answer, but no file any more.
    """

    recordings: dict[str, int]
    moved: int
    before: int
    elsewhere: dict[str, int]
    unanswered: int
    gone: int


def make_recordings(folder: KeptFolder, to: Path) -> Made:
    """Writes `<to>/<answer>/heard-<date>/<n>.flac` for each sound with an answer, once: the clip that the model heard.

    An answer that was changed since moves its recording. What was taken back is removed. A recording that is no longer
    there is made again.

    Args:
        folder: what was kept.
        to: the folder of a data set.

    Raises:
        UserError: a sound cannot be read, or a recording not be written.
    """
    rows, kept = folder.rows(), folder.path.resolve()
    recordings = {row.file: row.recording for row in rows}
    made: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    moved = before = gone = 0
    for row in rows:
        if row.recording and _answer_of(row.recording) != row.answer:
            (kept / row.recording).unlink(missing_ok=True)
            moved += bool(row.answer)
            if not row.answer:
                folder.set_recording(row.file, "")
        elif row.recording and (path := kept / row.recording).is_file():
            data_set = path.resolve().parents[2]
            if data_set == to.resolve():
                before += 1
            else:
                elsewhere[str(data_set)] += 1
            continue
        if not row.answer:
            continue
        if not (folder.path / row.file).is_file():
            gone += 1
            continue
        content = _clip(folder.path, row)
        place = to / row.answer / f"{HEARD}{row.time[:10]}"
        beside = Path(os.path.relpath(place.resolve(), kept))
        others = [Path(recordings[other]) for other in recordings if other != row.file]
        path = place / f"{next_number(place, (other.name for other in others if other.parent == beside))}.flac"
        recordings[row.file] = str(beside / path.name)
        # Before the file: if the program is killed between both, the next call makes this recording, and no second one
        folder.set_recording(row.file, recordings[row.file])
        try:
            with written_whole(path) as file:
                file.write_bytes(content)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        made[row.answer] += 1
    unanswered = sum(not row.answer for row in rows)
    return Made(dict(sorted(made.items())), moved, before, dict(sorted(elsewhere.items())), unanswered, gone)


def _answer_of(recording: str) -> str:
    """The answer of which a recording was made: `<to>/<answer>/heard-<date>/<n>.flac`."""
    return Path(recording).parent.parent.name


def _clip(kept: Path, row: Kept) -> bytes:
    """The clip that the model heard, as a FLAC file."""
    try:
        sound, rate = soundfile.read(kept / row.file, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UserError(f"{kept / row.file}: not audio: {error.error_string.rstrip('.')}") from None
    start, length = round(row.start * rate), round(row.seconds * rate)
    return flac(np.asarray(sound[start : start + length]), rate)


def report_lines(made: Made, kept: Path, to: Path) -> list[str]:
    """What was made, what was not, and the next command."""
    names = {UNKNOWN: "other words", BACKGROUND: "background"}
    counts = [f"{number} of {names.get(answer, answer)}" for answer, number in made.recordings.items()]
    lines = [f"{to}: {sum(made.recordings.values())} recordings made{': ' if counts else ''}{', '.join(counts)}"]
    if made.moved:
        lines.append(f"{made.moved} of them in place of a recording with another answer")
    if made.before:
        lines.append(f"{made.before} answers had their recording before")
    lines += [
        f"{number} answers have their recording in {folder}, and get none here"
        for folder, number in made.elsewhere.items()
    ]
    if made.gone:
        lines.append(f"{made.gone} answers are left out: their sound is no longer in {kept}")
    if made.unanswered:
        lines.append(f"{made.unanswered} sounds have no answer: kws review {kept}")
    if UNKNOWN in made.recordings:
        lines.append("other words need the class _unknown_: unknown=1 or more, as presets balanced and best have it")
    lines.append(f"next: make exp PRESET=… SET='dataset={to} …', which takes these for training alone")
    return lines
