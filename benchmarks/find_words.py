"""How often the word is found in a long recording: clips at random places in background noise.

python benchmarks/find_words.py speech_commands_v0.02.tar.gz

Each clip lies somewhere in four seconds of background. It is found if the second that `clip_starts` gives holds 98 % of
the energy of its word. WebRTC's voice-activity detector is asked, too, where webrtcvad-wheels is installed.
"""

import argparse
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


def by_cut(samples: np.ndarray) -> int:
    """Where `clip_starts` lets the clip start, in samples; the start of the recording if it finds nothing."""
    starts = clip_starts(samples, RATE, RATE, "word")
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


def share_found(
    find: Callable[[np.ndarray], int], clips: list[np.ndarray], noises: list[np.ndarray], snr: int
) -> float:
    """The share of the clips that are found at a signal-to-noise ratio."""
    rng = np.random.default_rng(1)
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
        start = find(stretch.astype(np.float32))
        middles = place + (np.arange(len(word)) + 0.5) * BLOCK
        found.append(word[(middles >= start) & (middles < start + RATE)].sum() >= FOUND * word.sum())
    return float(np.mean(found))


def main() -> None:
    """Prints a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="in the layout of Speech Commands, with background recordings")
    archive = parser.parse_args().archive
    recordings = understand(read_contents(archive), ()).clips
    noises, _ = read_background(archive, recordings, RATE)
    names = sorted(clip.name for clip in recordings if not clip.word.startswith("_"))
    chosen = np.random.default_rng(0).choice(names, min(CLIPS, len(names)), replace=False)
    clips = [decode_recording(data or b"", RATE).samples for _, data in read_members(archive, set(chosen.tolist()))]
    levels = [block_decibels(clip, RATE) for clip in clips]
    clips = [clip for clip, db in zip(clips, levels, strict=True) if db.max() >= np.percentile(db, 20) + QUIET_DB]
    print(f"{len(clips)} clips: share found at " + ", ".join(f"{snr} dB" for snr in SNR_DB))
    for find in (by_cut, by_webrtc):
        shares = (share_found(find, clips, list(noises.values()), snr) for snr in SNR_DB)
        print(f"{find.__name__:10}", *(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    main()
