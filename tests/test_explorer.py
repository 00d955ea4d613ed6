import base64
import io
import json
import re
import signal
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from conftest import source_of

from kws.core.files import require_exists
from kws.evaluate.answers import Answers
from kws.project import explorer
from kws.project.hard_cases import Noise, Person
from kws.recordings.archive import pack_folder

CLASSES = ["yes", "</script><b>", "it's"]
PEOPLE = [Person("speaker & 2", 1, 2), Person("speaker & 1", 2, 3)]
HARD = {"people": PEOPLE, "noises": [Noise("<i>tap", 0.51234), Noise("hum", 0.9)]}
SPACES = ("pca", "umap", "tsne")


def make_answers(clips=9, wrong=(2, 5), confidence=None):
    labels = np.arange(clips) % 3
    predicted = labels.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 3
    sure = np.linspace(0.5, 0.9, clips) if confidence is None else np.asarray(confidence)
    probabilities = np.repeat((1 - sure[:, None]) / 2, 3, axis=1)
    probabilities[np.arange(clips), predicted] = sure
    return Answers(
        names=np.array([f"{i}/<i>clip_{i}.wav" for i in range(clips)]),
        speakers=np.array([f"speaker & {i % 4}" for i in range(clips)]),
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        embeddings=np.zeros((clips, 2), np.float32),
    )


def make_spaces(clips=9):
    points = np.random.default_rng(0).normal(size=(3, clips, 3)).astype(np.float32)
    return dict(zip(SPACES, points, strict=True))


class Page(HTMLParser):
    """What a page is made of: its elements with their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._in_script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, _tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data

    def data(self):
        [index] = [i for i, script in enumerate(self.attributes("script")) if script.get("id") == "data"]
        return json.loads(self.scripts[index])

    def attributes(self, wanted):
        return [attributes for tag, attributes in self.elements if tag == wanted]


@pytest.fixture
def text():
    return explorer.page("9 clips of <me>", make_spaces(), make_answers(), CLASSES, {"2/<i>clip_2.wav": b"mp3"}, **HARD)


def test_the_page_is_one_file_that_loads_nothing_and_may_not(text):
    page = Page(text)
    links = [value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")]
    assert links == ["data:,"]  # no favicon
    [policy] = [meta["content"] for meta in page.attributes("meta") if "http-equiv" in meta]
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert {source for sources in allowed.values() for source in sources.split()} == {
        "'unsafe-inline'",
        "data:",
        "blob:",
    }
    assert len(page.scripts) == 3  # plotly.js, the data, ours
    assert not re.search(r"https?:|\bimport\b|fetch\(|eval\(", page.scripts[2])


def test_the_library_is_inside_with_its_version_and_licence(text):
    library, _, _ = Page(text).scripts
    version = re.search(r"plotly\.js v([\d.]+)\n.*\n.*\n\* Licensed under the MIT license", library)[1]
    assert f"Drawn by plotly.js {version} (MIT licence)" in text


def test_the_data_are_all_there_and_no_name_can_break_the_page(text):
    answers, data = make_answers(), Page(text).data()
    assert data["classes"] == CLASSES
    assert data["name"] == answers.names.tolist()
    assert data["speaker"] == answers.speakers.tolist()
    assert data["said"] == answers.labels.tolist()
    assert data["heard"] == answers.predicted.tolist()
    assert len(set(data["colours"])) == len(CLASSES)
    assert list(data["spaces"]) == ["PCA", "UMAP", "t-SNE"]
    for points, (x, y, z) in zip(make_spaces().values(), data["spaces"].values(), strict=True):
        np.testing.assert_allclose(points, np.transpose([x, y, z]), atol=5e-4)
    for clip, top in enumerate(data["top"]):
        assert [word for word, _ in top] == np.argsort(-answers.probabilities[clip], kind="stable").tolist()
        np.testing.assert_allclose(
            [share for _, share in top], answers.probabilities[clip][[w for w, _ in top]], atol=1e-4
        )
    assert data["people"] == [["speaker & 2", 1, 2], ["speaker & 1", 2, 3]]
    assert data["noise"] == [["<i>tap", 0.5123], ["hum", 0.9]]
    assert "<title>9 clips of &lt;me&gt;</title>" in text


def test_the_sounds_belong_to_their_clips_and_are_counted(text):
    assert Page(text).data()["sound"] == {"2": base64.b64encode(b"mp3").decode()}
    assert "1 of 9 clips can be heard." in text


def test_the_same_input_gives_the_same_page(text):
    assert text == explorer.page(
        "9 clips of <me>", make_spaces(), make_answers(), CLASSES, {"2/<i>clip_2.wav": b"mp3"}, **HARD
    )


def test_confident_mistakes_are_heard_first_and_half_of_the_sample_is_right(monkeypatch):
    monkeypatch.setattr(explorer, "AUDIBLE_CLIPS", 6)
    wrong = (1, 4, 5, 6, 8)
    answers = make_answers(clips=20, wrong=wrong, confidence=np.linspace(0.9, 0.5, 20))
    chosen = explorer.choose_audible(answers, []).tolist()
    assert chosen[:3] == [1, 4, 5]
    assert len(set(chosen)) == 6
    assert not set(chosen[3:]) & set(wrong)
    assert (chosen[3], chosen[5]) == (0, 19)


def test_the_people_who_are_understood_worst_are_heard_before_all_others(monkeypatch):
    monkeypatch.setattr(explorer, "AUDIBLE_CLIPS", 8)
    answers = make_answers(clips=20, wrong=(1, 4, 5, 6, 8))  # speakers 0 to 3 in turn: 1 has 5 clips, 1 and 5 wrong
    chosen = explorer.choose_audible(answers, [Person("speaker & 1", 3, 5)]).tolist()
    assert chosen[:2] == [5, 1]
    assert sorted(chosen[:5]) == [1, 5, 9, 13, 17]
    assert chosen[5:6] == [8]  # the most confident of the other mistakes
    assert len(set(chosen)) == 8


@pytest.mark.parametrize("wrong", [(), range(9), (0, 1, 2, 3, 4, 5, 6)])
def test_a_sample_is_filled_whatever_share_is_wrong(wrong, monkeypatch):
    answers = make_answers(wrong=wrong)
    assert sorted(explorer.choose_audible(answers, [])) == list(range(9))
    monkeypatch.setattr(explorer, "AUDIBLE_CLIPS", 6)
    assert len(set(explorer.choose_audible(answers, []))) == 6


@pytest.fixture
def source(tmp_path):
    for index in range(4):
        path = tmp_path / "clips" / "yes" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.5 * np.sin(2 * np.pi * 250 * (index + 1) * np.arange(4000 * (index + 1)) / 8000)
        soundfile.write(path, tone, 8000)
    pack_folder(tmp_path / "clips", tmp_path / "clips.tar")
    return source_of(require_exists(tmp_path / "clips.tar"))


def rows_of(*names: str) -> list[dict[str, str]]:
    """Their rows in the manifest, and that of another clip."""
    return [{"name": name, "recording": name, "start": "0", "split": "test"} for name in (*names, "yes/2.wav")]


def test_the_sounds_are_the_recordings_at_one_rate_and_length(source):
    rows = rows_of("yes/3.wav", "_silence_/made.wav", "yes/0.wav")
    sounds = explorer.read_sounds(source, rows, ["yes/3.wav", "_silence_/made.wav", "yes/0.wav"], 1.0)
    assert sorted(sounds) == ["yes/0.wav", "yes/3.wav"]
    for name, hertz in (("yes/0.wav", 250), ("yes/3.wav", 1000)):
        waveform, rate = soundfile.read(io.BytesIO(sounds[name]))
        assert rate == 16_000
        assert abs(len(waveform) - 16_000) < 3000  # MP3 has frames
        spectrum = np.abs(np.fft.rfft(waveform[1000:7000] * np.hanning(6000)))
        assert spectrum.argmax() * rate / 6000 == pytest.approx(hertz, abs=5)
    assert sounds == explorer.read_sounds(source, rows, ["yes/3.wav", "yes/0.wav"], 1.0)


def test_the_sound_of_a_clip_is_that_part_of_its_recording(source):
    common = {"recording": "yes/3.wav", "split": "test"}
    rows = [{"name": f"yes/3.wav#{n}", "start": start} | common for n, start in ((2, "1.5"), (3, "3"))]
    sounds = explorer.read_sounds(source, rows, ["yes/3.wav#2", "yes/3.wav#3"], 1.0)
    assert sorted(sounds) == ["yes/3.wav#2", "yes/3.wav#3"]
    levels = [np.abs(soundfile.read(io.BytesIO(sound))[0]).max() for sound in sounds.values()]
    assert levels == pytest.approx([0.5, 0], abs=0.05)  # the recording ends after 2 s


def test_the_sample_of_sounds_is_bounded(source, monkeypatch):
    names = [f"yes/{index}.wav" for index in (2, 0, 3, 1)]
    sizes = [len(sound) for sound in explorer.read_sounds(source, rows_of(*names), names, 1.0).values()]
    monkeypatch.setattr(explorer, "AUDIBLE_BYTES", sizes[0] + sizes[1] + 1)
    assert list(explorer.read_sounds(source, rows_of(*names), names, 1.0)) == names[:2]


# where it comes between the opening of a file and the block that closes it, Python closes the file, and says so
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_interrupt_ends_the_encoding(source):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            end = time.monotonic() + 10
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                while time.monotonic() < end:
                    names = ["yes/3.wav", "yes/2.wav", "yes/1.wav"]
                    explorer.read_sounds(source, rows_of(*names), names, 1.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_largest_page_stays_below_four_megabytes_besides_the_library():
    clips = 10_000  # the most that projection_clips allows
    sounds = {name: bytes(explorer.AUDIBLE_BYTES // 400) for name in make_answers(400).names.tolist()}
    text = explorer.page("", make_spaces(clips), make_answers(clips), CLASSES, sounds, **HARD)
    assert len(text) - len(Page(text).scripts[0]) < 4_700_000
