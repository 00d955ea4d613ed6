"""The synthetic data set: what it holds, and that it is the same every time."""

import ctypes
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import contents_of

from kws.core.errors import UserError
from kws.core.naming import BACKGROUND
from kws.core.parallel import TASKS_AHEAD
from kws.download.voices import acoustics, espeak, pronunciation, synthetic
from kws.download.voices.other_words import ENGLISH, UNHEARD, other_words, unheard_words
from kws.download.voices.synthetic import Voices
from kws.recordings.clips import SPLITS, Clip, words_of
from kws.recordings.layout import understand
from kws.recordings.people import speaker_split

WORDS = ["yes", "no", "hey kws"]
SPEAKERS = 21


def voices(**changes) -> Voices:
    usual = {
        "speakers": SPEAKERS,
        "variety": 1.0,
        "neural_share": 0.0,
        "seed": 1,
        "language": "en",
        "clip_seconds": 1.0,
    }
    return Voices(**usual | changes)


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
    layout = understand(contents_of(clips.keys()), WORDS)
    found = list(layout.clips)
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
    found = understand(contents_of(made.keys()), WORDS).clips
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


def test_words_that_training_does_not_hear_are_others():
    assert len(set(UNHEARD)) == len(UNHEARD) == 40
    assert not set(UNHEARD) & set(ENGLISH)
    assert set(UNHEARD) - set(unheard_words(["Camera", "the radio-man"])) == {"camera", "radio"}


def variants(*people: tuple[str, synthetic._Speaker]) -> dict[str, set[str]]:
    """The variants of eSpeak NG, by the split of the speakers."""
    found: dict[str, set[str]] = {split: set() for split in SPLITS}
    for _, speaker in people:
        found[speaker.split].add(speaker.voice.name.split("+")[1])
    return found


@pytest.mark.parametrize("language", ["en", "de"])
def test_nobody_in_validation_or_test_has_a_voice_of_training_even_with_2000_speakers(language):
    people = synthetic._draw_speakers(voices(speakers=2000, language=language))
    assert all(speaker.split == speaker_split(name) for name, speaker in people)
    assert Counter(speaker.split for _, speaker in people) == {"train": 1600, "validation": 200, "test": 200}
    found = variants(*people)
    assert {split: len(names) for split, names in found.items()} == {"train": 57, "validation": 7, "test": 8}
    assert not found["train"] & (found["validation"] | found["test"])
    assert not found["validation"] & found["test"]


def test_a_voice_that_is_replaced_is_replaced_by_one_of_its_split(monkeypatch):
    asked: list[espeak.Utterance] = []

    def silent_at_first(utterances: list[espeak.Utterance]) -> list[bytes]:
        asked.extend(utterances)
        return [bytes(2) if len(asked) == len(utterances) else b"\1\1" for _ in utterances]

    monkeypatch.setattr(espeak, "speak", silent_at_first)
    variant = synthetic._VARIANTS_OF["test"][0]
    utterance = espeak.Utterance("yes", f"en-us+{variant}", rate=125, pitch=50, pitch_range=50, longest=0.8, seed=7)
    synthetic._speak({(f"p{n}", "yes"): utterance for n in range(50)}, voices())
    again = {utterance.voice.split("+")[1] for utterance in asked[50:]}
    assert len(again) > 4
    assert again <= set(synthetic._VARIANTS_OF["test"])


def noise_of(split: str, length: int) -> np.ndarray:
    """1 where a recording of the background is for a split, 0 elsewhere."""
    ends = {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}[split]
    places = np.arange(length) / length
    return ((places >= ends[0]) & (places < ends[1])).astype(float)


def test_each_clip_is_mixed_with_the_noise_of_its_split(tmp_path, monkeypatch):
    """Parts that training does not hear are those that validation and test measure in."""
    length = synthetic.NOISE_SECONDS * 16_000
    monkeypatch.setattr(synthetic, "_make_noises", lambda _: {s: noise_of(s, length) for s in SPLITS})
    monkeypatch.setattr(synthetic, "_make_babble", lambda _: noise_of("train", length))
    heard: dict[str, set[str]] = {split: set() for split in SPLITS}
    record = acoustics.record

    def recorded(voice, place, responses, noises, **more):
        [split] = [name for name in SPLITS if noises[name].all()]
        assert all(not noises[name].any() for name in SPLITS if name != split)
        heard[split].add(str(place))
        return record(voice, place, responses, {"any": np.ones(16_000)}, **more)

    monkeypatch.setattr(acoustics, "record", recorded)
    write(tmp_path / "synthetic.tar", ["yes"], speakers=20)
    assert {split: len(places) for split, places in heard.items()} == {"train": 16, "validation": 2, "test": 2}
    speakers = synthetic._draw_speakers(voices(speakers=20))
    assert all(str(speaker.place) in heard[speaker.split] for _, speaker in speakers)


@pytest.fixture(scope="module")
def other_speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Clip]]:
    target = tmp_path_factory.mktemp("other speech") / "other_speech.tar"
    return target, synthetic.write_other_speech(target, unheard_words(["camera"]), voices(speakers=6))


def test_other_speech_is_said_by_voices_of_validation_and_test(other_speech, tmp_path):
    target, found = other_speech
    assert {clip.name for clip in found} == set(members(target))
    assert all(clip.name == f"_other_speech_/{clip.word}/{clip.speaker}_nohash_0.wav" for clip in found)
    assert {(clip.speaker, clip.split) for clip in found} == {
        (f"computed-{number:02d}", split)
        for number, split in enumerate(("validation", "test", "validation", "test", "validation", "test"))
    }
    words = {split: {clip.word for clip in found if clip.split == split} for split in ("validation", "test")}
    assert words["validation"] | words["test"] == set(UNHEARD) - {"camera"}
    assert not words["validation"] & words["test"]  # they were the same: thresholds were chosen on the test's words
    assert Counter(clip.speaker for clip in found) == {
        f"computed-{number:02d}": len(words[split]) for number, split in enumerate(("validation", "test") * 3)
    }
    again = tmp_path / "again.tar"
    assert synthetic.write_other_speech(again, unheard_words(["camera"]), voices(speakers=6)) == found
    assert again.read_bytes() == target.read_bytes()


def test_other_speech_is_audible_and_each_voice_is_another(other_speech):
    sounds = [soundfile.read(io.BytesIO(data))[0] for data in members(other_speech[0]).values()]
    assert all(len(sound) == 16_000 and np.abs(sound).max() > 0.03 for sound in sounds)
    assert len({sound.tobytes() for sound in sounds}) == len(sounds)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Clip]]:
    target = tmp_path_factory.mktemp("beside") / "computed.tar"
    words_of = {"train": WORDS, "validation": ["no"], "test": ["no", "yes"]}
    return target, synthetic.write_beside(
        target, words_of, voices(speakers=10), synthetic.Others(["know"], ["apple"], 1)
    )


def test_computed_voices_beside_people_say_the_words_of_their_split(beside):
    target, found = beside
    assert [clip.name for clip in found] == list(members(target))
    assert all(clip.name == f"_computed_/{clip.word}/{clip.speaker}_nohash_0.wav" for clip in found)
    assert {clip.speaker for clip in found} == {
        *(f"computed-train-{number:04d}" for number in range(10)),
        *("computed-validation-0000", "computed-test-0000"),
    }
    said = Counter((clip.split, clip.word) for clip in found)
    assert said == {
        **{("train", word): 10 for word in [*WORDS, "know"]},
        **{("validation", word): 1 for word in ("no", "know")},
        **{("test", word): 1 for word in ("no", "yes", "know")},
    }
    assert all(clip.speaker.split("-")[1] == clip.split for clip in found)


def test_computed_voices_beside_people_are_the_same_every_time_and_for_any_number(beside, tmp_path):
    everything = members(beside[0])
    target = tmp_path / "computed.tar"
    found = synthetic.write_beside(target, {"train": ["yes"]}, voices(speakers=3), synthetic.Others((), (), 0))
    assert len(found) == 3
    assert all(everything[name] == data for name, data in members(target).items())


def test_a_tenth_of_seventy_voices_speaks_for_each_of_validation_and_test(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_add_clips", lambda *_, **__: [])
    monkeypatch.setattr(synthetic, "_make_babble", lambda _: np.zeros(1))
    words_of = {"train": ["yes", "no"], "validation": ["no"], "test": ["no"]}
    none = synthetic.Others((), (), 0)
    found = synthetic.write_beside(tmp_path / "computed.tar", words_of, voices(speakers=70), none)
    assert Counter((clip.split, clip.word) for clip in found) == {
        ("train", "yes"): 70,
        ("train", "no"): 70,
        ("validation", "no"): 7,
        ("test", "no"): 7,
    }
    people = [(split, rng_speaker(split, number)) for split in SPLITS for number in range(30)]
    assert variants(*people)["train"].isdisjoint(variants(*people)["validation"] | variants(*people)["test"])


def rng_speaker(split: str, number: int) -> synthetic._Speaker:
    return synthetic._draw_speaker(synthetic._rng(1, "beside", split, number), voices(), split)


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path, monkeypatch):
    """All clips were computed while the first were written: gigabytes for hundreds of words."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(synthetic, "_TASK", 10)
    monkeypatch.setattr(synthetic, "_make_babble", lambda _: np.ones(16_000))
    monkeypatch.setattr(synthetic.pronunciation, "check", lambda *_: [])
    computed = written = most = 0
    sizes = set()

    def record(takes, *_):
        nonlocal computed
        computed += len(takes)
        sizes.add(len(takes))
        return synthetic._Recorded(dict.fromkeys(takes, b"wav"), [], [])

    def add(*_):
        nonlocal written, most
        most = max(most, computed - written)
        written += 1

    monkeypatch.setattr(synthetic, "_record", record)
    monkeypatch.setattr(synthetic, "_add", add)
    words = [f"word{number}" for number in range(500)]
    synthetic.write_beside(tmp_path / "a.tar", {"train": words}, voices(speakers=4), synthetic.Others((), (), 0))
    assert written == computed == 2000
    assert sizes == {10}
    assert most <= 10 * (2 * (TASKS_AHEAD + 1) + 1)


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
    names = [name for name, _ in synthetic._draw_speakers(voices(speakers=120, seed=5))]
    assert len(set(names)) == 120
    assert Counter(map(speaker_split, names)) == {"train": 96, "validation": 12, "test": 12}
    few = Counter(speaker_split(name) for name, _ in synthetic._draw_speakers(voices(speakers=20, seed=5)))
    assert few == {"train": 16, "validation": 2, "test": 2}


def test_same_arguments_give_the_same_bytes_in_another_process(archive, tmp_path):
    code = f"""if True:
        from pathlib import Path
        from kws.download.voices.synthetic import Voices, write_corpus
        write_corpus(Path("again.tar"), {WORDS}, {voices()})"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_the_english_corpus_of_one_second_stays_what_it_is(clips, archive):
    """Results in git were trained on these clips. Names follow from what was drawn of the speakers."""
    names = "".join(sorted(members(archive)))
    assert hashlib.sha256(names.encode()).hexdigest().startswith("0fbd0d8e143a042d")
    for word, loudness in {"yes": [0.00466, 0.01529, 0.00259], "hey kws": [0.01516, 0.01415, 0.00258]}.items():
        sounds = [soundfile.read(io.BytesIO(data))[0] for name, data in clips.items() if name.startswith(f"{word}/")]
        assert [np.abs(sound).mean() for sound in sounds[:3]] == pytest.approx(loudness, rel=0.01)


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
        "hey_jarvis",
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

    assert all(map(any, say([f"{accent}+f1" for accent in synthetic._ENGLISH])))
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
        [speaker for _, speaker in synthetic._draw_speakers(voices(speakers=100, variety=variety))]
        for variety in (0.2, 1.0)
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


def test_a_word_that_hibari_cannot_read_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("hibari")
    monkeypatch.setattr(pronunciation, "check", lambda *_: [])  # it refuses this one, but for another reason
    with pytest.raises(UserError, match="words: Hibari cannot read '你好'"):
        write(tmp_path / "synthetic.tar", ["你好"], speakers=1, neural_share=1.0)


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_voices_speak_as_long_as_the_clips_allow(tmp_path, capsys, seconds):
    phrase = "turn the lights of the house off"
    found = members(write(tmp_path / "synthetic.tar", [phrase], speakers=10, variety=0.0, clip_seconds=seconds))
    lengths = []
    for name, data in found.items():
        if not name.startswith(BACKGROUND):
            sound, _ = soundfile.read(io.BytesIO(data))
            assert len(sound) == seconds * 16_000
            lengths.append(np.ptp(np.flatnonzero(np.abs(sound) > 0.1 * np.abs(sound).max())) / 16_000)
    printed = capsys.readouterr().out
    assert f"longer than clip_seconds, {seconds:g}, at the usual pace, and are spoken faster: {phrase} (2." in printed
    if seconds == 2:
        assert 1.2 < np.median(lengths) < 1.8
        assert "end before" not in printed
    else:
        assert re.search(
            rf"^\d+ of 10 clips end before the word does, .* clip_seconds 0.5: {phrase} \(\d+\)$", printed, re.MULTILINE
        )


def test_a_voice_that_crashes_at_a_word_is_replaced_and_that_is_said(tmp_path, monkeypatch, capsys):
    crash = espeak.Utterance("recycling!", "en-us+rob", rate=125, pitch=0, pitch_range=99, longest=0.8, seed=7)
    assert espeak.speak([crash]) == [b""]
    monkeypatch.setattr(synthetic, "_ENDINGS", ("!",))
    monkeypatch.setattr(
        synthetic._Voice,
        "draw",
        lambda *_: synthetic._Voice("en-us+rob", rate=125, pitch=0, pitch_range=99, formants=1),
    )
    found = members(write(tmp_path / "synthetic.tar", ["recycling", "yes"], speakers=10))
    printed = capsys.readouterr().out
    message = (
        r"^(\d+) of 20 clips are spoken by another voice, .* crashes or is silent at recycling as en-us\+rob \(\1\)$"
    )
    assert 0 < int(re.search(message, printed, re.MULTILINE)[1]) <= 10
    alone = members(write(tmp_path / "alone.tar", ["recycling"], speakers=5))
    assert len(alone) == 5 + 5
    assert all(found[name] == data for name, data in alone.items())
    assert all(np.abs(soundfile.read(io.BytesIO(data))[0]).max() > 0.03 for data in found.values())


def test_a_silent_voice_is_replaced_too(monkeypatch):
    speak = espeak.speak

    def without_f1(asked: list[espeak.Utterance]) -> list[bytes]:
        said = zip(asked, speak(asked), strict=True)
        return [bytes(100) if utterance.voice.endswith("+f1") else pcm for utterance, pcm in said]

    monkeypatch.setattr(espeak, "speak", without_f1)
    utterance = espeak.Utterance("yes", "en-us+f1", rate=125, pitch=50, pitch_range=50, longest=0.8, seed=7)
    spoken, failed = synthetic._speak({("ada", "yes"): utterance, ("bob", "yes"): utterance}, voices())
    assert failed == {("ada", "yes"): "en-us+f1", ("bob", "yes"): "en-us+f1"}
    assert all(map(any, spoken.values()))
    assert spoken["ada", "yes"] != spoken["bob", "yes"]  # others than for the other


def test_a_word_of_which_no_voice_makes_a_sound_is_refused(monkeypatch):
    monkeypatch.setattr(espeak, "speak", lambda asked: [b""] * len(asked))
    utterance = espeak.Utterance("yes.", "en-us+f1", rate=125, pitch=50, pitch_range=50, longest=0.8, seed=7)
    with pytest.raises(UserError, match=r"words: eSpeak NG makes no sound of 'yes\.'"):
        synthetic._speak({("ada", "yes"): utterance}, voices())


def test_a_process_that_ends_otherwise_than_by_a_crash_of_the_library_is_an_error():
    with pytest.raises(
        subprocess.CalledProcessError
    ):  # a killed one must not be replaced: the corpus would depend on it
        espeak.speak([espeak.Utterance("yes", "xx", rate=125, pitch=50, pitch_range=50, longest=0.8, seed=7)])


def test_a_process_that_was_killed_is_asked_again_and_given_up_in_one_line(monkeypatch):
    run, codes = subprocess.run, iter([-9, -15])

    def killed_at_first(*words: object, **settings: object) -> subprocess.CompletedProcess[str]:
        done = run(*words, **settings)
        done.returncode = next(codes, done.returncode)
        return done

    monkeypatch.setattr(subprocess, "run", killed_at_first)
    yes = espeak.Utterance("yes", "en-us+f1", rate=125, pitch=50, pitch_range=50, longest=0.8, seed=7)
    spoken = espeak.speak([yes])
    assert list(codes) == []
    assert spoken == espeak.speak([yes])
    assert len(spoken[0]) > 5000
    codes = iter([-9] * espeak.ATTEMPTS)
    with pytest.raises(
        UserError, match=r"^the process of eSpeak NG was killed 3 times \(SIGKILL\): does the computer lack"
    ):
        espeak.speak([yes])


def test_speakers_of_a_language_have_its_accents():
    drawn = {speaker.voice.name.split("+")[0] for _, speaker in synthetic._draw_speakers(voices(language="fr"))}
    assert drawn == {"fr", "fr-be", "fr-ch"}


LANGUAGES = {
    "de": ["grün", "schön", "Tür"],
    "fr": ["café", "été", "forêt"],
    "pt": ["não", "sim", "ligação"],
    "vi": ["không", "đèn", "nước"],
    "ru": ["кофе", "свет", "стоп"],
    "el": ["καφές", "νερό", "όχι"],
    "ar": ["قهوة", "نعم", "نور"],
    "he": ["כן", "לא", "מים"],
    "hi": ["पानी", "हाँ", "नहीं"],
    "cmn": ["咖啡", "开灯", "你好"],
    "ja": ["はい", "いいえ", "コーヒー"],
    "ko": ["커피", "물", "아니요"],
}


def _shape(clip: np.ndarray) -> np.ndarray:
    """The spectrum over the time of the word, whenever that is: float64 (bands x 16,)."""
    power = np.abs(np.fft.rfft(clip.reshape(50, 320) * np.hanning(320), axis=1)) ** 2
    edges = np.unique(np.geomspace(1, 150, 20).astype(int))
    bands = np.log(np.add.reduceat(power[:, 2:], edges, axis=1) + 1e-4)
    loud = np.flatnonzero(power.sum(axis=1) > 0.01 * power.sum(axis=1).max())
    times = np.linspace(loud[0], loud[-1], 16)
    return np.concatenate([np.interp(times, np.arange(50), band) for band in bands.T])


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_a_language_are_audible_and_can_be_told_apart(tmp_path, capsys, language):
    words = LANGUAGES[language]
    write(tmp_path / "synthetic.tar", words, speakers=20, variety=0.0, language=language)
    shapes = {}
    for name, data in members(tmp_path / "synthetic.tar").items():
        sound, _ = soundfile.read(io.BytesIO(data))
        assert np.abs(sound).max() > 0.03, name
        if not name.startswith(BACKGROUND):
            shapes.setdefault(name.split("/")[0], []).append(_shape(sound))
    assert {word: len(found) for word, found in shapes.items()} == dict.fromkeys(words, 20)
    means = [np.mean(shapes[word][::2], axis=0) for word in words]
    right = [
        np.argmin([np.sum((s - m) ** 2) for m in means]) == k for k, w in enumerate(words) for s in shapes[w][1::2]
    ]
    assert np.mean(right) > 0.8
    assert "spells" not in capsys.readouterr().out
