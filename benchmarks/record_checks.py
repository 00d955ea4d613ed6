"""How many real clips `kws record` would find fault with, and which: `python benchmarks/record_checks.py ARCHIVE …`.

ARCHIVE holds clips of a second, such as mini_speech_commands.zip. Some clips of each word become takes: each is put
behind a countdown, in even noise of the level of its own pauses. docs/recording.md has the shares.
"""

import random
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from kws.audio.cut import block_decibels
from kws.audio.decode import decode_recording
from kws.record.checks import COUNT_SECONDS, COUNTS, SAMPLE_RATE, check_take, take_samples
from kws.recordings.archive import read_members

CLIPS = 60  # of each word
QUIET_PERCENTILE = 10  # of a clip's blocks: its pauses
AFTER_SECONDS = 0.3  # after the countdown, the clip begins


def main(archives: list[str]) -> None:
    """Prints the share of the clips without a problem, and with each."""
    words = defaultdict(list)
    for archive in archives:
        for name, _ in read_members(Path(archive)):
            words[archive, str(PurePosixPath(name).parent)].append(name)
    kinds: Counter[str] = Counter()
    clips = 0
    rng = np.random.default_rng(1)
    for (archive, _), names in words.items():
        chosen = set(random.Random(1).sample(sorted(names), min(CLIPS, len(names))))  # noqa: S311 (no secret)
        for _, data in read_members(Path(archive), chosen):
            clip = decode_recording(data, SAMPLE_RATE, may_be_silent=True).samples
            found = {problem.partition(":")[0] for problem in check_take(as_take(clip, rng), 1.0).problems}
            kinds.update(found or {"good"})
            clips += 1
    print(f"{clips} clips")
    for kind, count in kinds.most_common():
        print(f"{count / clips:6.1%}  {kind}")


def as_take(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A take with this clip behind its countdown: float32 (samples,)."""
    noise = rng.normal(size=take_samples(1.0)).astype(np.float32)
    quiet = np.percentile(block_decibels(clip, SAMPLE_RATE), QUIET_PERCENTILE)
    noise *= 10 ** ((quiet - np.median(block_decibels(noise, SAMPLE_RATE))) / 20)
    start = round((COUNTS * COUNT_SECONDS + AFTER_SECONDS) * SAMPLE_RATE)
    noise[start : start + len(clip)] = clip
    return noise


if __name__ == "__main__":
    main(sys.argv[1:])
