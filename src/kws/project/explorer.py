"""The explorer: an HTML file in which a user can turn the projections, search the answers and hear a sample of clips.

The file opens from disk in any browser with WebGL. It contains plotly.js and needs no network.
"""

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import plotly.offline
import soundfile

from kws.evaluate.answers import Answers
from kws.plots.figures import word_style
from kws.project.hard_cases import Noise, Person, clips_of
from kws.project.projection import TITLES
from kws.recordings.manifest import read_waveforms
from kws.recordings.source import DataSource

PAGE = Path(__file__).with_suffix(".html")
TOP = 3  # likeliest words that the page shows of a clip
AUDIBLE_CLIPS = 400  # at most; a clip has about 5 kB
AUDIBLE_BYTES = 2_000_000  # at most, of all sounds, before base64 adds a third
LISTENING_RATE = 16_000  # Hz; MP3 and every browser support it, but not every rate of a front end
COMPRESSION = 0.7  # from 0 (largest file, best sound) to 1


def choose_audible(answers: Answers, people: Sequence[Person]) -> np.ndarray:
    """Chooses the clips that a user can hear.

    First some of the people who are understood worst, then the most confident mistakes, then right answers, evenly
    spread.

    Returns:
        At most AUDIBLE_CLIPS positions. Of those that are not of these people, at most half are mistakes, unless there
        are too few right answers.
    """
    first = clips_of(people, answers)[:AUDIBLE_CLIPS]
    free = np.setdiff1d(np.arange(len(answers.labels)), first)
    wrong = (answers.labels != answers.predicted)[free]
    mistakes, right = free[wrong], free[~wrong]
    mistakes = mistakes[np.argsort(-answers.confidence[mistakes], kind="stable")]
    left = AUDIBLE_CLIPS - len(first)
    mistakes = mistakes[: max(left // 2, left - len(right))]
    others = min(len(right), left - len(mistakes))
    spread = np.linspace(0, len(right) - 1, others).round().astype(int)
    return np.concatenate([first, mistakes, right[spread]])


def read_sounds(
    source: DataSource, rows: Iterable[Mapping[str, str]], names: Sequence[str], seconds: float
) -> dict[str, bytes]:
    """Reads clips and encodes them as MP3, in the order of `names`, until the sounds have AUDIBLE_BYTES.

    Args:
        source: says where the recordings are. Clips of silence that featurize made are nowhere, and get no sound.
        rows: of the manifest, of the test clips.
        names: of the clips.
        seconds: length of a clip.

    Returns:
        MP3 files by name of the clip.
    """
    wanted = set(names)
    clips = read_waveforms([row for row in rows if row["name"] in wanted], source, LISTENING_RATE, seconds)
    with ThreadPoolExecutor(1) as pool:  # in the main thread, Ctrl-C would get lost in callbacks of soundfile
        sounds = dict(pool.map(lambda clip: (clip[0]["name"], _mp3(clip[1])), clips))
    kept, size = {}, 0
    for name in names:
        size += len(sounds.get(name, b""))
        if size > AUDIBLE_BYTES:
            break
        if name in sounds:
            kept[name] = sounds[name]
    return kept


def _mp3(waveform: np.ndarray) -> bytes:
    """Encodes a waveform as MP3. The same waveform gives the same bytes; an Ogg file would contain a random number."""
    sound = io.BytesIO()
    soundfile.write(sound, waveform, LISTENING_RATE, format="MP3", compression_level=COMPRESSION)
    return sound.getvalue()


def page(  # noqa: PLR0913 (a page shows that many things)
    title: str,
    spaces: Mapping[str, np.ndarray],
    answers: Answers,
    classes: Sequence[str],
    sounds: Mapping[str, bytes],
    *,
    people: Sequence[Person],
    noises: Sequence[Noise],
) -> str:
    """Returns the whole page. The same input gives the same text.

    Args:
        title: heading of the page.
        spaces: points (clips, 3) by space, as `projection.TITLES` has them.
        answers: of the network, to the same clips.
        classes: names of the classes.
        sounds: MP3 files by name of the clip.
        people: who is understood worst, the worst first.
        noises: the background recordings, the hardest first.
    """
    names = answers.names.tolist()
    likeliest = np.argsort(-answers.probabilities, axis=1, kind="stable")[:, :TOP]
    shares = np.take_along_axis(answers.probabilities, likeliest, axis=1)
    data = {
        "classes": list(classes),
        "colours": [word_style(index)[0] for index in range(len(classes))],
        "name": names,
        "speaker": answers.speakers.tolist(),
        "said": answers.labels.tolist(),
        "heard": answers.predicted.tolist(),
        "top": [
            [[word, round(share, 4)] for word, share in zip(*pair, strict=True)]
            for pair in zip(likeliest.tolist(), shares.tolist(), strict=True)
        ],
        "spaces": {
            TITLES[space]: np.round(points.T.astype(np.float64), 3).tolist() for space, points in spaces.items()
        },
        "people": [list(person) for person in people],
        "noise": [[noise.name, round(noise.accuracy, 4)] for noise in noises],
        "sound": {index: base64.b64encode(sounds[name]).decode() for index, name in enumerate(names) if name in sounds},
    }
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        heard=f"{len(data['sound'])} of {len(names)} clips can be heard.",
        plotly=plotly.offline.get_plotlyjs(),
        version=plotly.offline.get_plotlyjs_version(),
        data=_json(data),
    )


def _json(content: Any) -> str:
    """Encodes JSON for a script element. No text in it can end the element."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
