"""How often the word is found in a long recording: clips at random places in background noise.

    pip install webrtcvad-wheels
    python benchmarks/find_words.py speech_commands_v0.02.tar.gz

Each clip lies somewhere in four seconds of background. It is found if the second that `clip_starts` gives holds 98 % of
the energy of its word. WebRTC's voice-activity detector is asked for comparison. Then a knock is added, louder than the
word, and `clip_starts` is asked again. The table goes into benchmarks/find_words.csv.

KNOCK_SECONDS in audio/cut.py was chosen on the other half of the clips, by a hash of their names.
"""

import argparse
import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kws.audio.cut import block_decibels, clip_starts
from kws.audio.decode import decode_recording
from kws.recordings.archive import read_contents, read_members
from kws.recordings.background import read_background
from kws.recordings.layout import understand

RATE = 16_000
SECONDS = 4
SNR_DB = (30, 20, 10, 5)
CLIPS = 400
BLOCK = RATE // 100
FOUND = 0.98
QUIET_DB = 10  # a clip whose loudest block is not so far above its pauses has no word to find
KNOCK_SECONDS = (0.05, 0.12)
KNOCK_GAIN = (2, 6)  # times the peak of the recording
TABLE = Path(__file__).with_suffix(".csv")


def by_cut(samples: np.ndarray) -> int:
    """Where `clip_starts` lets the clip start, in samples; the start of the recording if it finds nothing."""
    starts = clip_starts(samples, RATE, RATE, "word").starts
    return round(starts[0] * RATE) if starts else 0


def by_webrtc(samples: np.ndarray) -> int:
    """The middle of the seconds with the most blocks of speech, by WebRTC in its strictest mode."""
    import webrtcvad

    detector = webrtcvad.Vad(3)
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2")
    blocks = [pcm[first : first + BLOCK].tobytes() for first in range(0, len(pcm) - BLOCK + 1, BLOCK)]
    speech = np.convolve([detector.is_speech(block, RATE) for block in blocks], np.ones(RATE // BLOCK), "valid")
    best = np.flatnonzero(speech == speech.max())
    return int(best[len(best) // 2]) * BLOCK


def knock(rng: np.random.Generator, peak: float) -> np.ndarray:
    """A knock on the table: noise that fades, some times louder than a peak."""
    samples = round(rng.uniform(*KNOCK_SECONDS) * RATE)
    sound = rng.normal(size=samples) * np.exp(-3 * np.arange(samples) / samples)
    return sound * peak * rng.uniform(*KNOCK_GAIN) / np.abs(sound).max()


def share_found(
    find: Callable[[np.ndarray], int],
    clips: list[np.ndarray],
    noises: list[np.ndarray],
    snr: int,
    *,
    knocks: bool = False,
) -> float:
    """The share of the clips that are found at a signal-to-noise ratio."""
    rng, knock_rng = np.random.default_rng(1), np.random.default_rng(2)
    found = []
    for clip in clips:
        power = 10 ** (block_decibels(clip, RATE) / 10)
        word = np.where(power >= 0.01 * power.max(), power, 0)
        noise = noises[int(rng.integers(len(noises)))]
        first = int(rng.integers(len(noise) - SECONDS * RATE))
        stretch = noise[first : first + SECONDS * RATE].astype(np.float64)
        loud = power[power >= 0.05 * power.max()].mean()
        stretch *= np.sqrt(loud / (10 ** (block_decibels(stretch, RATE) / 10)).mean() * 10 ** (-snr / 10))
        place = int(rng.integers(len(stretch) - len(clip)))
        stretch[place : place + len(clip)] += clip
        if knocks:
            sound = knock(knock_rng, np.abs(stretch).max())
            first = int(knock_rng.integers(len(stretch) - len(sound)))
            stretch[first : first + len(sound)] += sound
        start = find(stretch.astype(np.float32))
        middles = place + (np.arange(len(word)) + 0.5) * BLOCK
        found.append(word[(middles >= start) & (middles < start + RATE)].sum() >= FOUND * word.sum())
    return float(np.mean(found))


def for_report(name: str) -> bool:
    """Whether a clip is in the half on which nothing was chosen."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def main() -> None:
    """Writes and prints a row for each method and signal-to-noise ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="in the layout of Speech Commands, with background recordings")
    archive = parser.parse_args().archive
    recordings = understand(read_contents(archive), ()).clips
    noises, _ = read_background(archive, recordings, RATE)
    names = sorted(clip.name for clip in recordings if not clip.word.startswith("_") and for_report(clip.name))
    chosen = np.random.default_rng(0).choice(names, min(CLIPS, len(names)), replace=False)
    drawn = [decode_recording(data or b"", RATE).samples for _, data in read_members(archive, set(chosen.tolist()))]
    levels = [block_decibels(clip, RATE) for clip in drawn]
    clips = [clip for clip, db in zip(drawn, levels, strict=True) if db.max() >= np.percentile(db, 20) + QUIET_DB]
    quiet = len(drawn) - len(clips)
    print(f"{archive.name}: {len(drawn)} of {len(names)} clips drawn in the half for the report")
    print(f"{quiet} left out, since no block is {QUIET_DB} dB above their pauses")
    methods = (("cut: word", by_cut, False), ("WebRTC", by_webrtc, False), ("cut: word, with a knock", by_cut, True))
    with TABLE.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("method", "snr_db", "found", "clips"))
        for name, find, knocks in methods:
            for snr in SNR_DB:
                found = share_found(find, clips, list(noises.values()), snr, knocks=knocks)
                table.writerow((name, snr, f"{found:.4f}", len(clips)))
                print(f"{name}, {snr} dB: {found:.1%}")


if __name__ == "__main__":
    main()
