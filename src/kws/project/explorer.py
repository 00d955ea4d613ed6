"""The explorer: one HTML file with the projections, the answers and a sample of the clips, to turn, search and hear.

It opens from disk, in any browser with WebGL, and asks no network for anything: plotly.js is inside.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import plotly.offline
import soundfile

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.evaluate.answers import Answers
from kws.plots.figures import word_style
from kws.project.projection import TITLES
from kws.recordings.archive import read_members

PAGE = Path(__file__).with_suffix(".html")
TOP = 3  # likeliest words that are told of a clip
AUDIBLE_CLIPS = 400  # at most; about 5 kB each
AUDIBLE_BYTES = 2_000_000  # of their sound, before base64 adds a third
LISTENING_RATE = 16_000  # Hz: one that MP3 and every browser knows, whatever the front end's is
COMPRESSION = 0.7  # 0: largest and best, to 1


def choose_audible(answers: Answers) -> np.ndarray:
    """Which clips can be heard, the most wanted first: the confident mistakes, then others from all over the set.

    Returns:
        At most AUDIBLE_CLIPS positions; mistakes are at most half of them where there are enough right answers.
    """
    wrong = answers.labels != answers.predicted
    mistakes, right = np.flatnonzero(wrong), np.flatnonzero(~wrong)
    mistakes = mistakes[np.argsort(-answers.confidence[mistakes], kind="stable")]
    mistakes = mistakes[: max(AUDIBLE_CLIPS // 2, AUDIBLE_CLIPS - len(right))]
    others = min(len(right), AUDIBLE_CLIPS - len(mistakes))
    spread = np.linspace(0, len(right) - 1, others).round().astype(int)
    return np.concatenate([mistakes, right[spread]])


def read_sounds(archive: Path, names: Sequence[str], seconds: float) -> dict[str, bytes]:
    """The sound of clips as MP3, as many as AUDIBLE_BYTES hold, the first of `names` before the others.

    Args:
        archive: that holds them; names that it does not hold (of silence, which is made) stay silent here, too.
        names: of the clips.
        seconds: length of a clip.
    """
    length = round(seconds * LISTENING_RATE)
    sounds = {
        name: _mp3(cut_or_pad(decode_clip(recording or b"", LISTENING_RATE), length))
        for name, recording in read_members(archive, set(names))
    }
    kept, size = {}, 0
    for name in names:
        size += len(sounds.get(name, b""))
        if size > AUDIBLE_BYTES:
            break
        if name in sounds:
            kept[name] = sounds[name]
    return kept


def _mp3(waveform: np.ndarray) -> bytes:
    """A waveform as MP3: the same bytes each time, unlike Ogg, whose streams get a random number."""
    sound = io.BytesIO()
    soundfile.write(sound, waveform, LISTENING_RATE, format="MP3", compression_level=COMPRESSION)
    return sound.getvalue()


def page(
    title: str,
    spaces: Mapping[str, np.ndarray],
    answers: Answers,
    classes: Sequence[str],
    sounds: Mapping[str, bytes],
) -> str:
    """The whole page; the same input gives the same text.

    Args:
        title: stands above.
        spaces: points (clips, 3) by space, as `projection.TITLES` has them.
        answers: of the network to the same clips.
        classes: their names.
        sounds: MP3 files by name of the clip.
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
    """JSON that may stand between script tags: no name in it can end them."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
