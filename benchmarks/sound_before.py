"""Which sound before a clip gives front end `micro` the features of a long stream: docs/decisions/0010.

    python benchmarks/sound_before.py        # after `dvc repro featurize`, in the project's folder

Validation clips are put over background at 5 to 25 dB, in the middle of a stream. Each clip is then cut out again, with
the background in it, and gets another sound before it. The table has the mean difference to the features of the stream,
in steps of 8 bits. Nothing is written.
"""

from collections.abc import Callable

import numpy as np

from kws.audio import micro
from kws.audio.cut import speech_interval
from kws.audio.frontend import FrontEnd
from kws.core import paths
from kws.core.params import load_params
from kws.recordings import background
from kws.recordings.clips import read_clips
from kws.recordings.manifest import read_recordings, spoken_rows
from kws.recordings.source import DataSource

CLIPS, SEED, SNR_DB, STREAM_SECONDS = 500, 1, (5.0, 25.0), 3
LEAD, HOP = round(micro.LEAD_SECONDS * micro.SAMPLE_RATE), micro.HOP_LENGTH
STEP = 26 / 255  # of features in 8 bits
PARTS = {"all": (0, 98), "0 to 0.1 s": (0, 10), "0.1 to 0.3 s": (10, 30), "0.3 to 1 s": (30, 98)}


BEFORE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nothing: a cold start": lambda clip: clip[:0],
    "zeros": lambda clip: 0 * clip[:LEAD],
    "the clip, backwards": lambda clip: clip[:LEAD][::-1],
    "its first 0.1 s, forwards and backwards": lambda clip: micro.forwards_and_backwards(clip[:1600], LEAD),
    **{
        f"its quietest {seconds:g} s, forwards and backwards": lambda clip, s=seconds: micro.forwards_and_backwards(
            micro.quietest(clip, s), LEAD
        )
        for seconds in (0.1, 0.2, 0.3, 0.4)
    },
}


def main() -> None:
    """Prints the table."""
    front_end = FrontEnd.from_params(load_params().model_copy(update={**micro.SETTINGS, "front_end": "micro"}))
    source, rng = DataSource.read(paths.SOURCE), np.random.default_rng(SEED)
    noises, _ = background.read_background(
        source.archive_of("train"), read_clips(paths.CLIPS), front_end, ("validation",)
    )
    rows = list(spoken_rows(paths.MANIFEST, "validation"))
    rows = [rows[place] for place in rng.permutation(len(rows))[:CLIPS]]
    differences: dict[str, list[np.ndarray]] = {name: [] for name in BEFORE}
    start = (STREAM_SECONDS - 1) * micro.SAMPLE_RATE
    for recording in read_recordings(rows, source, front_end):
        clip = recording.waveform
        first, end = (round(second * micro.SAMPLE_RATE) for second in speech_interval(clip, micro.SAMPLE_RATE))
        noise = noises["validation"][rng.choice(sorted(noises["validation"]))]
        stream = np.resize(np.roll(noise, -rng.integers(len(noise))), STREAM_SECONDS * micro.SAMPLE_RATE)
        stream = stream * (level(clip[first:end]) / level(stream) * 10 ** (-rng.uniform(*SNR_DB) / 20))
        stream[start : start + len(clip)] += clip
        wanted = micro.micro_features(stream)[start // HOP :][: front_end.frames]
        heard = stream[start : start + len(clip)]
        for name, before in BEFORE.items():
            lead = before(heard)
            got = micro.micro_features(np.concatenate([lead, heard]).astype(np.float32))[len(lead) // HOP :]
            differences[name].append(np.abs(got - wanted) / STEP)
    print(f"| sound before the clip | {' | '.join(PARTS)} |\n| --- |{' --- |' * len(PARTS)}")
    for name, all_of_them in differences.items():
        means = (np.mean([one[first:end] for one in all_of_them]) for first, end in PARTS.values())
        print(f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} |")


def level(sound: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))) + 1e-9)


if __name__ == "__main__":
    main()
