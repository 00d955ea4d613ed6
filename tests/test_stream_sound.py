import csv
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import FRONT_END, SOURCE

from kws.core import paths
from kws.evaluate import stream_sound
from kws.evaluate.stream_sound import by_lot, leaking, recordings_of, stretches
from kws.recordings.clips import UNHEARD
from kws.recordings.manifest import Recording

RATE = FRONT_END.sample_rate
CLASSES = ["no", "yes", "_unknown_"]
SILENCE = {"room": np.full(2 * RATE, 1e-9, np.float32), "hall": np.full(RATE, 1e-9, np.float32)}


PITCHES = {"a": 500, "b": 1000, "c": 2000}  # Hz, one for each person


def recording(name: str, speaker: str, label: str, level: float = 0.1) -> Recording:
    """A clip with a tone of 0.3 s, 0.4 s after its start."""
    sound = np.zeros(RATE, np.float32)
    sound[6400:11_200] = level * np.sin(2 * np.pi * PITCHES.get(speaker, 300) * np.arange(4800) / RATE)
    return Recording(name, speaker, label, label, sound)


WORDS = [recording(f"{label}/{number}.wav", f"{number}", label) for label in ("no", "yes") for number in range(5)]
SPEECH = [
    recording(f"bed/{speaker}-{number}.wav", speaker, "_unknown_", 0.01) for speaker in "abc" for number in range(9)
]


def made(words=WORDS, speech=SPEECH, noises=SILENCE, *, minutes=6, seed=1):
    return list(stretches(words, speech, noises, front_end=FRONT_END, classes=CLASSES, minutes=minutes, seed=seed))


def script_of(stream):
    return [one for stretch in stream for one in stretch.script]


def test_the_same_clips_in_any_order_give_the_same_stream():
    first, again, other = made(minutes=1), made(WORDS[::-1], SPEECH[::-1], minutes=1), made(minutes=1, seed=2)
    assert first[0].script == again[0].script
    np.testing.assert_array_equal(first[0].log_mel, again[0].log_mel)
    assert first[0].script != other[0].script


def test_speech_is_where_the_script_says_at_one_level_and_nothing_between():
    events = stream_sound._events(
        *(stream_sound._speech(clips, FRONT_END) for clips in (WORDS, SPEECH)), CLASSES, RATE, np.random.default_rng(0)
    )
    sound, script, waiting = stream_sound._stretch(events, SILENCE["room"], FRONT_END, np.random.default_rng(1))
    assert len(sound) == 60 * RATE
    assert len(waiting) == 1
    quiet = np.ones(len(sound), bool)
    for one in script:
        part = slice(round(one.start * RATE), round(one.end * RATE))
        quiet[part] = False
        if one.word is not None:
            assert one.end - one.start == pytest.approx(0.3, abs=0.05)
            assert 10 * np.log10(np.mean(np.square(sound[part]))) == pytest.approx(-26, abs=0.1)
    assert np.sqrt(np.mean(np.square(sound[quiet]))) < 10 ** (-26 / 20 - 5 / 20)  # at least 5 dB below
    starts, ends = (np.array([getattr(one, end) for one in script]) for end in ("start", "end"))
    assert (starts[1:] - ends[:-1]).min() >= 1  # a clip


def test_most_events_are_words_of_ours_and_every_clip_and_person_comes_in_turn():
    script = script_of(made(minutes=20))
    words = [one for one in script if one.word is not None]
    assert len(words) / len(script) == pytest.approx(0.6, abs=0.08)
    assert sorted({one.word for one in words}) == [0, 1]
    counts = np.unique([one.clip for one in words], return_counts=True)[1]
    assert len(counts) == len(WORDS)
    assert counts.max() - counts.min() <= 1  # what does not fit comes in the next stretch
    assert {one.speaker for one in script if one.word is None} == {*"abc"}


def test_other_speech_is_single_words_utterances_and_babble():
    events = stream_sound._events(
        *(stream_sound._speech(clips, FRONT_END) for clips in ([], SPEECH)), CLASSES, RATE, np.random.default_rng(0)
    )
    seconds = [len(next(events).sound) / RATE for _ in range(300)]
    assert 0.35 < np.mean(np.array(seconds) == 1.0) < 0.5  # single words, in their clips: 15 of 40 events
    assert min(seconds) > 0.5
    assert max(seconds) <= 8 + 0.6


def test_an_utterance_is_two_to_eight_words_of_one_person_where_the_person_says_so_many():
    utterances = stream_sound._utterances(stream_sound._speech(SPEECH, FRONT_END), RATE, np.random.default_rng(0))
    words = set()
    for _ in range(40):
        sound, first = next(utterances)
        spectrum = np.abs(np.fft.rfft(sound)) ** 2
        own = np.abs(np.fft.rfftfreq(len(sound), 1 / RATE) - PITCHES[first.recording.speaker]) < 100
        assert spectrum[own].sum() > 0.99 * spectrum.sum()
        loud = np.convolve(np.abs(sound) > 1e-3, np.ones(400), "same") > 0
        words.add(int((np.diff(loud.astype(int)) == 1).sum() + loud[0]))
    assert (min(words), max(words)) == (2, 8)


def test_a_person_with_too_few_words_is_joined_by_others():
    speech = stream_sound._speech(SPEECH[:1], FRONT_END)
    assert len(next(stream_sound._utterances(speech, RATE, np.random.default_rng(0)))[0]) > 0.5 * RATE


def test_without_other_speech_the_stream_has_our_words_and_without_both_background():
    assert all(one.word is not None for one in script_of(made(speech=[], minutes=2)))
    assert script_of(made(words=[], speech=[], minutes=2)) == []
    assert sorted(stretch.background for stretch in made(minutes=4)) == ["hall", "hall", "room", "room"]


@pytest.mark.parametrize("seconds", [0.5, 3, 10])
def test_gaps_are_a_clip_or_longer_whatever_its_length(seconds):
    front_end = replace(FRONT_END, clip_samples=round(seconds * RATE))
    words = [replace(one, waveform=np.resize(one.waveform, front_end.clip_samples)) for one in WORDS]
    stream = stretches(words, [], SILENCE, front_end=front_end, classes=CLASSES, minutes=3, seed=1)
    scripts = [stretch.script for stretch in stream]
    assert all(scripts)
    for script in scripts:
        starts = np.array([one.start for one in script])
        assert (np.diff(starts) >= seconds).all()
        assert script[-1].end + seconds <= 60


def row(name: str, speaker: str = "a", **more: str) -> dict[str, str]:
    return {"name": name, "recording": name, "start": "0", "speaker": speaker, "status": "ok", "word": "x"} | more


def test_clips_are_drawn_by_their_names_and_some_of_each_person_first(monkeypatch):
    monkeypatch.setattr(stream_sound, "CLIPS_A_PERSON", 2)
    rows = [
        row(f"{person}{number}", person) for person, count in (("a", 20), ("b", 2), ("c", 3)) for number in range(count)
    ]
    drawn = by_lot(rows, 8)
    people = [one["speaker"] for one in drawn]
    assert sorted(people[:6]) == [*"aabbcc"]
    assert set(people[6:]) <= {"a", "c"}
    assert by_lot(rows[::-1], 8) == drawn
    assert len(by_lot(rows, 100)) == 25


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Writes manifest and archives of these rows, and returns what is said in the stream of the test."""
    monkeypatch.chdir(tmp_path)

    def said(rows: list[dict[str, str]], **changes):
        with Path("manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        source = replace(SOURCE, archive="raw.tar", **changes)
        paths.RAW.mkdir(parents=True, exist_ok=True)
        with tarfile.open(paths.RAW / "raw.tar", "w") as tar:
            for one in rows:
                sound = io.BytesIO()
                soundfile.write(sound, np.full(RATE, 0.1), RATE, format="WAV")
                info = tarfile.TarInfo(one["recording"])
                info.size = sound.tell()
                sound.seek(0)
                tar.addfile(info, sound)
        found = recordings_of(Path("manifest.csv"), "test", source, ["no", "yes"], FRONT_END)
        return [[one.name for one in part] for part in found]

    return said


OWN = [
    row("no/1.wav", split="test", **{"class": "no"}),
    row("no/2.wav", split="train", **{"class": "no"}),
    row("yes/3.wav", split="test", **{"class": "yes"}),
]
KNOWN = row("bed/4.wav", split="test", **{"class": "_unknown_"})
NEVER_HEARD = row("cat/5.wav", split=UNHEARD["test"], **{"class": "_unknown_"})


def test_other_speech_is_of_words_that_training_never_heard(data):
    """E3: without class _unknown_ there was none, with it the words were those of training."""
    assert data([*OWN, KNOWN, NEVER_HEARD]) == [["no/1.wav", "yes/3.wav"], ["cat/5.wav"]]
    assert data([*OWN, NEVER_HEARD]) == [["no/1.wav", "yes/3.wav"], ["cat/5.wav"]]


def test_a_stream_holds_no_more_clips_than_fit_in_memory(data, monkeypatch):
    monkeypatch.setattr(stream_sound, "WORD_CLIPS", 1)
    monkeypatch.setattr(stream_sound, "SPEECH_CLIPS", 2)
    others = [row(f"cat/{number}.wav", split=UNHEARD["test"], **{"class": "_unknown_"}) for number in range(5)]
    words, speech = data([*OWN, *others])
    assert (len(words), len(speech)) == (1, 2)


def test_other_words_by_people_of_training_are_a_share_of_all(data):
    data([*OWN, NEVER_HEARD])
    assert leaking(Path("manifest.csv")) == 1  # "a" says a word of training
    strangers = [
        row(f"cat/{n}.wav", "z", split=name, **{"class": "_unknown_"}) for n, name in enumerate(UNHEARD.values())
    ]
    data([*OWN, NEVER_HEARD, *strangers])
    assert leaking(Path("manifest.csv")) == pytest.approx(1 / 3)
    data(OWN)
    assert leaking(Path("manifest.csv")) == 0


def test_an_event_that_does_not_fit_comes_first_in_the_next_stretch():
    """It was left out: of long clips and utterances, an hour held fewer."""
    events = stream_sound._events(
        *(stream_sound._speech(clips, FRONT_END) for clips in (WORDS, SPEECH)), CLASSES, RATE, np.random.default_rng(0)
    )
    rng = np.random.default_rng(1)
    *_, waiting = stream_sound._stretch(events, SILENCE["room"], FRONT_END, rng)
    _, script, _ = stream_sound._stretch(
        iter([*waiting, *(next(events) for _ in range(40))]), SILENCE["room"], FRONT_END, rng
    )
    assert script[0].clip == waiting[0].utterance.clip
