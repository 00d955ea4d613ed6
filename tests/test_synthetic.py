"""The synthetic data set: what it holds, and that it is the same every time."""

import ctypes
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kws.core.errors import UserError
from kws.download.voices import acoustics, espeak, synthetic
from kws.download.voices.other_words import ENGLISH, other_words
from kws.download.voices.synthetic import Voices
from kws.recordings.archive import Contents
from kws.recordings.clips import BACKGROUND, words_of
from kws.recordings.layout import understand
from kws.recordings.people import speaker_split

WORDS = ["yes", "no", "hey kws"]
SPEAKERS = 21


def voices(speakers: int = SPEAKERS, seed: int = 1, variety: float = 1.0, neural_share: float = 0.0) -> Voices:
    return Voices(speakers, variety, neural_share, seed)


def write(target: Path, words: list[str] = WORDS, **changes) -> Path:
    synthetic.write_corpus(target, words, voices(**changes))
    return target


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive, "r:") as tar:  # "r:" refuses a compressed archive
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("synthetic") / "synthetic.tar")


@pytest.fixture(scope="module")
def clips(archive: Path) -> dict[str, bytes]:
    return {name: data for name, data in members(archive).items() if not name.startswith(BACKGROUND)}


def test_every_speaker_says_every_word_once(clips):
    layout = understand(Contents(dict.fromkeys(clips, ""), {}, {}), WORDS)
    found = layout.clips
    assert words_of(found) == dict.fromkeys(sorted(WORDS), SPEAKERS)
    assert layout.speakers == "file names"
    speakers = Counter(clip.speaker for clip in found)
    assert set(speakers.values()) == {len(WORDS)}
    assert all(len(name) == 8 and int(name, 16) >= 0 for name in speakers)


def test_every_speaker_says_some_of_the_other_words_and_together_they_say_all(tmp_path, clips):
    others = ["apple", "garden", "window"]
    target = tmp_path / "others.tar"
    synthetic.write_corpus(target, WORDS, voices(), others, 2)
    made = {name: data for name, data in members(target).items() if not name.startswith(BACKGROUND)}
    found = understand(Contents(dict.fromkeys(made, ""), {}, {}), WORDS).clips
    found = [clip for clip in found if clip.word in others]
    assert set(Counter(clip.speaker for clip in found).values()) == {2}
    assert len({clip.speaker for clip in found}) == SPEAKERS
    assert {clip.word for clip in found} == set(others)
    assert {name: data for name, data in made.items() if name in clips} == clips  # the chosen words sound as without


def test_other_words_are_varied_and_none_of_them_is_chosen():
    assert len(set(ENGLISH)) == len(ENGLISH) == 40
    assert other_words(["yes", "no"]) == list(ENGLISH)
    chosen = ["Window", "open the garden-door", "apple_pie"]
    assert set(ENGLISH) - set(other_words(chosen)) == {"window", "garden", "apple"}


def test_an_underscore_is_not_read_aloud(tmp_path):
    spoken = [members(write(tmp_path / f"{n}.tar", [w], speakers=1)) for n, w in enumerate(("hey_kws", "hey kws"))]
    underscore, space = ([data for name, data in found.items() if "_nohash_" in name] for found in spoken)
    loud = [np.count_nonzero(_loud(data)) for data in (*underscore, *space)]
    assert loud[0] < 1.5 * loud[1]  # "hey underscore kws" would be twice as long


def test_every_clip_is_one_audible_second_of_16_khz_mono(clips):
    for name, data in clips.items():
        info = soundfile.info(io.BytesIO(data))
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 16_000, 1), name
        sound, _ = soundfile.read(io.BytesIO(data))
        assert len(sound) == 16_000, name
        assert 0.03 < np.abs(sound).max() < 1, name


def test_most_voices_stand_out_from_the_background(clips):
    contrasts = []
    for data in clips.values():
        sound, _ = soundfile.read(io.BytesIO(data))
        power = (sound.reshape(50, 320) ** 2).mean(axis=1)  # blocks of 20 ms
        contrasts.append(10 * np.log10(power.max() / max(np.percentile(power, 10), 1e-12)))
    assert np.percentile(contrasts, 5) > 6
    assert np.median(contrasts) > 20


def _loud(clip: bytes) -> np.ndarray:
    sound, _ = soundfile.read(io.BytesIO(clip))
    return np.abs(sound) > 0.3 * np.abs(sound).max()


def test_words_start_at_different_times(clips):
    starts = [np.argmax(_loud(clip)) for name, clip in clips.items() if "no/" in name]
    assert np.std(starts) > 500


def test_backgrounds_are_thirty_seconds_long(archive):
    noises = {name: data for name, data in members(archive).items() if name.startswith("_background_noise_/")}
    assert len(noises) == 5
    for name, data in noises.items():
        sound, rate = soundfile.read(io.BytesIO(data))
        assert (rate, sound.shape) == (16_000, (480_000,)), name
        assert np.mean(sound**2) > 0.001, name
        assert np.abs(sound).max() < 1, name


def test_a_tenth_of_the_speakers_is_in_validation_and_test():
    names = [name for name, _ in synthetic._draw_speakers(voices(120, seed=5))]
    assert len(set(names)) == 120
    assert Counter(map(speaker_split, names)) == {"train": 96, "validation": 12, "test": 12}
    few = Counter(speaker_split(name) for name, _ in synthetic._draw_speakers(voices(20, seed=5)))
    assert few == {"train": 16, "validation": 2, "test": 2}


def test_same_arguments_give_the_same_bytes_in_another_process(archive, tmp_path):
    code = f"""if True:
        from pathlib import Path
        from kws.download.voices.synthetic import Voices, write_corpus
        write_corpus(Path("again.tar"), {WORDS}, {voices()})"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("cores", [1, 5])
def test_the_number_of_cores_changes_nothing(archive, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert write(tmp_path / "synthetic.tar").read_bytes() == archive.read_bytes()


def test_another_seed_gives_other_speakers_and_other_noises(archive, tmp_path):
    first, second = members(archive), members(write(tmp_path / "synthetic.tar", WORDS[:2], seed=2))
    shared = set(first) & set(second)
    assert all(name.startswith(BACKGROUND) for name in shared)
    assert first["_background_noise_/babble.wav"] != second["_background_noise_/babble.wav"]


def test_other_words_and_fewer_speakers_leave_a_clip_as_it_was(archive, tmp_path):
    everything = members(archive)
    fewer = members(write(tmp_path / "synthetic.tar", ["no", "marvin"], speakers=11))
    kept = {name: data for name, data in fewer.items() if not name.startswith("marvin/")}
    assert len(kept) == 11 + 5
    assert all(everything[name] == data for name, data in kept.items())


def test_archive_members_carry_no_time_and_no_owner(archive):
    with tarfile.open(archive) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.type) for m in tar} == {(0, 0, 0, "", "", tarfile.REGTYPE)}


def test_unusual_and_long_words_are_spoken_within_the_second(tmp_path):
    words = [
        "xqzt",
        "naïve",
        "你好",
        "42",
        "it's",
        "supercalifragilisticexpialidocious",
        "turn the lights of the house off",
    ]
    found = members(write(tmp_path / "synthetic.tar", words, speakers=1))
    sounds = [hashlib.sha256(data).digest() for name, data in found.items() if not name.startswith(BACKGROUND)]
    assert len(set(sounds)) == len(words)


def test_a_word_without_a_sound_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match='words: eSpeak NG makes no sound of "\'"'):
        write(tmp_path / "synthetic.tar", ["yes", "'"], speakers=1)
    assert not list(tmp_path.iterdir())


def test_nothing_but_the_archive_is_written(archive):
    assert list(archive.parent.iterdir()) == [archive]


def test_without_the_library_the_user_is_told(tmp_path, monkeypatch):
    def refuse(_path: str) -> None:
        raise OSError("wrong architecture")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(UserError, match=r"^dataset: .*\(wrong architecture\).*$"):
        write(tmp_path / "synthetic.tar")


def test_what_was_said_before_changes_nothing():
    no = espeak.Utterance("no", "en-us+croak", rate=160, pitch=50, pitch_range=50, longest=1, seed=7)
    yes = no._replace(text="yes", voice="en+klatt2")
    assert espeak.speak([no, yes, no]) == [*espeak.speak([no]), *espeak.speak([yes]), *espeak.speak([no])]


def test_a_long_word_is_spoken_faster():
    slow = espeak.Utterance("supercalifragilistic", "en-us", rate=120, pitch=50, pitch_range=50, longest=5, seed=7)
    slow_samples, fast_samples = (len(pcm) // 2 for pcm in espeak.speak([slow, slow._replace(longest=0.8)]))
    assert slow_samples > 1.2 * espeak.SAMPLE_RATE
    assert fast_samples < 0.85 * espeak.SAMPLE_RATE


def test_every_voice_that_speakers_are_drawn_from_exists_and_each_variant_is_another():
    def say(voices: list[str]) -> list[bytes]:
        return espeak.speak([espeak.Utterance("yes", voice, 160, 50, 50, 1, 7) for voice in voices])

    assert all(map(any, say([f"{accent}+f1" for accent in synthetic._ACCENTS])))
    variants = say([f"en-us+{variant}" for variant in synthetic._VARIANTS])
    assert all(map(any, variants))
    assert len(set(variants)) == len(variants)


def test_consonants_around_the_vowel_get_softer_and_the_vowel_stays():
    voice = np.concatenate([np.full(1600, 0.1), np.ones(3200), np.full(1600, 0.1)])
    changed = synthetic._articulate(voice, 1.0, np.random.default_rng(1))
    assert np.array_equal(changed[1760:4640], voice[1760:4640])
    assert len({*changed[:1200]}) == len({*changed[-1200:]}) == 1
    assert 0.1 * acoustics.gain(-10) <= changed[0] <= 0.1 * acoustics.gain(3)
    assert 0.1 * acoustics.gain(-20) <= changed[-1] <= 0.1 * acoustics.gain(3)
    np.testing.assert_array_equal(synthetic._articulate(voice, 0.0, np.random.default_rng(1)), voice)


def test_variety_is_how_much_the_speakers_differ():
    few, many = (
        [speaker for _, speaker in synthetic._draw_speakers(voices(100, variety=variety))] for variety in (0.2, 1.0)
    )
    for spread in (
        lambda speaker: speaker.voice.rate,
        lambda speaker: speaker.voice.pitch,
        lambda speaker: speaker.voice.formants,
        lambda speaker: speaker.place.echo,
        lambda speaker: speaker.place.equaliser[0],
    ):
        assert np.ptp([spread(speaker) for speaker in few]) < 0.4 * np.ptp([spread(speaker) for speaker in many])


def test_without_hibari_neural_voices_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(UserError, match=r"^neural_share: .*hibari-tts.*$"):
        write(tmp_path / "synthetic.tar", speakers=1, neural_share=0.5)
    assert not list(tmp_path.iterdir())


def test_neural_voices_take_the_place_of_others_and_leave_the_rest_as_they_were(archive, tmp_path):
    pytest.importorskip("hibari")
    paths = [tmp_path / "first.tar", tmp_path / "second.tar"]
    for path in paths:
        write(path, neural_share=0.5)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    before, after = members(archive), members(paths[0])
    assert len(after) == len(before)
    shared = set(before) & set(after)
    assert 5 + 3 * len(WORDS) <= len(shared) <= len(before) - 3 * len(WORDS)
    assert all(before[name] == after[name] for name in shared)


def test_a_word_that_hibari_cannot_read_is_refused(tmp_path):
    pytest.importorskip("hibari")
    with pytest.raises(UserError, match="words: Hibari cannot read '你好'"):
        write(tmp_path / "synthetic.tar", ["你好"], speakers=1, neural_share=1.0)
