"""The recordings of ten friends with phones, made of Speech Commands: to compare with the same takes cut by hand.

python benchmarks/phones.py speech_commands_v0.02.tar.gz OUT --words eight,five,one

OUT/phones holds takes of two seconds as m4a, 44.1 kHz, stereo, with the word anywhere in background noise. OUT/by_hand
holds the same words as clips of a second. Both are `<word>/<speaker>/<take>`, so that an experiment on each compares:

make exp PRESET=fast SET='dataset=OUT/phones words=[eight,five,one] …'
"""

import argparse
import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from kws.audio.decode import decode_recording
from kws.audio.frontend import FrontEnd
from kws.core.params import load_params
from kws.recordings.archive import read_contents, read_members
from kws.recordings.background import read_background
from kws.recordings.layout import understand

RATE, PHONE_RATE = 16_000, 44_100
SECONDS = 2
SNR_DB = 20.0
BITS_A_SECOND = 64_000


def write_m4a(path: Path, samples: np.ndarray) -> None:
    """Writes mono sound at PHONE_RATE, float (samples,), as a stereo m4a with AAC."""
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=PHONE_RATE, layout="stereo", bit_rate=BITS_A_SECOND)
        planes = np.stack([samples, samples]).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.sample_rate = PHONE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def phone_take(clip: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clip somewhere in SECONDS of background: float (samples,) at RATE."""
    first = int(rng.integers(len(noise) - SECONDS * RATE))
    take = noise[first : first + SECONDS * RATE].astype(np.float64)
    take *= np.sqrt(np.mean(clip**2) / max(np.mean(take**2), 1e-12) * 10 ** (-SNR_DB / 10))
    place = int(rng.integers(len(take) - len(clip) + 1))
    take[place : place + len(clip)] += clip
    return take


def main() -> None:
    """Writes both folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="in the layout of Speech Commands, with background recordings")
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", default="eight,five,one")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--takes", type=int, default=5)
    options = parser.parse_args()
    words = options.words.split(",")

    recordings = understand(read_contents(options.archive), words).clips
    takes: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for clip in recordings:
        if clip.word in words:
            takes[clip.speaker][clip.word].append(clip.name)
    fewest = {speaker: min(len(of_word[word]) for word in words) for speaker, of_word in takes.items()}
    people = sorted(takes, key=lambda speaker: (-min(fewest[speaker], options.takes), speaker))[: options.people]
    wanted = {
        name: (word, speaker, number)
        for speaker in people
        for word in words
        for number, name in enumerate(sorted(takes[speaker][word])[: options.takes], 1)
    }
    front_end = replace(FrontEnd.from_params(load_params()), sample_rate=RATE)
    background, _ = read_background(options.archive, recordings, front_end)
    noises = [part for parts in background.values() for part in parts.values()]
    for name, data in read_members(options.archive, wanted):
        word, speaker, number = wanted[name]
        rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
        clip = decode_recording(data or b"", RATE).samples
        for kind in ("by_hand", "phones"):
            (options.out / kind / word / speaker).mkdir(parents=True, exist_ok=True)
        soundfile.write(options.out / "by_hand" / word / speaker / f"{number}.wav", clip, RATE)
        take = phone_take(clip, noises[int(rng.integers(len(noises)))], rng)
        write_m4a(options.out / "phones" / word / speaker / f"{number}.m4a", soxr.resample(take, RATE, PHONE_RATE))
    print(f"{len(wanted)} takes of {len(people)} people in {options.out}/phones and {options.out}/by_hand")


if __name__ == "__main__":
    main()
