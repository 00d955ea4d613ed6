import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tone

from kws.core.errors import UserError
from kws.kept.folder import Kept, KeptFolder
from kws.spotting import cli
from kws.spotting.detect import Timing, newest_lowest
from kws.spotting.keep import _Keeper, keeping, near_threshold
from kws.spotting.spotter import Spotter

WORDS = [0, 0, 300, 0, 0, 3000, 0, 0]  # Hz, one a second: low after two seconds, high after five
CLIP, STEP = 100, 10  # samples, of the stream below


class Scripted:
    """A spotter whose probabilities are given, a row for each window; its windows take so much sound as real ones."""

    def __init__(self, probabilities) -> None:
        self.classes, self.words = ["no", "yes", "_unknown_"], [0, 1]
        self.sample_rate, self.clip_samples, self.step_samples = 100, CLIP, STEP
        self.timing = Timing(1, STEP, held=3, apart=10)
        self.probabilities = np.array(probabilities, np.float32)

    def windows(self, blocks):
        heard, coming = 0, iter(blocks)
        for number, row in enumerate(self.probabilities):
            while heard < number * STEP + CLIP:
                heard += len(next(coming))
            yield row


def kept_of(probabilities, threshold=0.9, block=7):
    """What is detected, and what is kept, in a stream whose samples are their numbers."""
    spotter, kept = Scripted(probabilities), []
    sound = np.arange(len(probabilities) * STEP + CLIP, dtype=np.float32)
    keeper = _Keeper(spotter, threshold, kept.append)
    found = [one.window for one in keeper.detect(np.array_split(sound, len(sound) // block))]
    return found, kept, keeper


def scores(*of_yes):
    """Probabilities of no, yes and _unknown_, where yes is held so long that its score is each of these for a while."""
    return [[0.05, yes, 0.95 - yes] for yes in of_yes]


def test_near_is_a_quarter_of_the_odds():
    assert near_threshold(0.9) == pytest.approx(9 / 4 / (1 + 9 / 4))
    assert near_threshold(0.5) == pytest.approx(0.2)
    assert (near_threshold(1.0), near_threshold(0.0)) == (1, 0)


def test_what_fires_is_kept_with_a_margin_around_the_middle_of_its_windows():
    found, kept, _ = kept_of(scores(*[0.01] * 30, *[0.93] * 4, *[0.01] * 30))
    assert found == [32]  # the third of the windows that are held
    [one] = kept
    assert (one.word, one.fired, one.score) == (1, True, pytest.approx(0.93))
    assert one.sound[one.start] == 310  # the window before
    assert (one.sound[0], one.sound[-1]) == (310 - 50, 310 + 100 + 50 - 1)
    assert np.array_equal(one.sound, np.arange(one.sound[0], one.sound[-1] + 1))


def test_what_nearly_fires_is_kept_at_its_highest_score_and_once():
    rising = [0.75] * 3 + [0.8] * 3 + [0.75] * 20  # 0.69 is near
    found, kept, _ = kept_of(scores(*[0.01] * 30, *rising, *[0.01] * 30))
    assert found == []
    [one] = kept
    assert (one.word, one.fired, one.score) == (1, False, pytest.approx(0.8))
    assert one.sound[one.start] == 340  # 0.8 is held in windows 33 to 35


def test_again_near_after_the_score_was_further_below_is_kept_again():
    _, kept, _ = kept_of(scores(*[0.01] * 30, *[0.8] * 5, *[0.01] * 20, *[0.8] * 5, *[0.01] * 30))
    assert [one.fired for one in kept] == [False, False]


def test_a_word_that_is_near_and_then_fires_is_kept_as_fired_alone():
    found, kept, _ = kept_of(scores(*[0.01] * 30, *[0.8] * 4, *[0.92] * 5, *[0.01] * 30))
    assert len(found) == 1
    assert [(one.fired, one.score) for one in kept] == [(True, pytest.approx(0.92))]


def test_nothing_is_kept_of_what_is_not_near():
    assert kept_of(scores(*[0.6] * 60))[:2] == ([], [])


def test_what_is_kept_at_the_edges_of_a_stream_is_what_there_is():
    _, kept, _ = kept_of(scores(*[0.95] * 3, *[0.01] * 30, *[0.95] * 4))
    assert [(one.start, one.sound[0]) for one in kept] == [(0, 0), (50, 350 - 10 - 50)]
    assert len(kept[1].sound) < CLIP + 2 * 50  # no margin behind it was heard


def test_the_sound_in_memory_stays_short():
    _, _, keeper = kept_of(scores(*[0.01] * 3000))
    assert len(keeper._sound) < 5 * CLIP


@pytest.mark.parametrize("block", [1, 160, 5000, 200_000])
def test_words_are_detected_as_without_keeping_however_the_sound_comes(exported, block):
    sound = np.concatenate([tone(hertz) for hertz in WORDS])
    blocks = np.array_split(sound, -(-len(sound) // block)) if block > 1 else [sound[:1], sound[1:]]
    spotter, kept = Spotter.load(exported / "kws.tflite"), []
    found = list(keeping(spotter, blocks, 0.6, kept.append))
    assert [(one.window, one.word, one.score) for one in found] == [
        (one.window, one.word, one.score) for one in spotter.detect(blocks, 0.6)
    ]
    assert [(spotter.classes[one.word], one.fired) for one in kept] == [("low", True), ("high", True)]
    for one, second in zip(kept, (2, 5), strict=True):  # the tone is in the middle of the clip that is kept
        clip = one.sound[one.start : one.start + 16_000]
        middle = np.average(np.arange(16_000), weights=np.square(clip))
        assert middle == pytest.approx(8000, abs=0.2 * 16_000)
        whole = sound[second * 16_000 : (second + 1) * 16_000]
        assert np.square(one.sound).sum() == pytest.approx(np.square(whole).sum(), rel=1e-3)


@pytest.mark.parametrize(
    ("folder", "file"), [("exported_causal", "kws_stream.tflite"), ("exported_micro", "kws.tflite")]
)
def test_the_clip_that_is_kept_is_the_one_that_was_heard_by_any_network(request, folder, file):
    sound = np.concatenate([tone(hertz) for hertz in WORDS])
    spotter, kept = Spotter.load(request.getfixturevalue(folder) / file), []
    found = list(keeping(spotter, [sound], 0.6, kept.append))
    fired = [one for one in kept if one.fired]
    assert [one.word for one in fired] == [one.word for one in found] == [0, 1]
    for one in fired:
        clip = one.sound[one.start : one.start + 16_000]
        assert np.average(np.arange(16_000), weights=np.square(clip)) == pytest.approx(8000, abs=0.2 * 16_000)


@pytest.fixture
def listen(exported, tmp_path, monkeypatch, capsys):
    """Runs `kws listen` on the words above, and returns the exit code and the lines on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("talk.wav", np.concatenate([tone(hertz) for hertz in WORDS]), 16_000)

    def run(*options: str) -> tuple[int, list[str], list[str]]:
        code = cli.main(["listen", "--model", str(exported / "kws.tflite"), "--source", "talk.wav", *options])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_listen_keeps_sounds_with_a_row_each(listen, exported):
    plain = listen()
    code, out, err = listen("--keep", "kept")
    assert (code, out) == (0, plain[1])
    assert err[-1] == "kept: kept 2 detected and 0 nearly detected words; next: kws review kept"
    rows = KeptFolder(Path("kept")).rows()
    digest = hashlib.sha256((exported / "kws.tflite").read_bytes()).hexdigest()[:16]
    assert [(row.file, row.word, row.threshold, row.model, row.fired) for row in rows] == [
        ("1.flac", "low", 0.6, digest, "yes"),
        ("2.flac", "high", 0.6, digest, "yes"),
    ]
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row.time)
        assert 0.6 <= row.score <= 1
        assert set(row.words.split(", ")) == {"low", "high"}
        assert (row.start, row.seconds, row.answer, row.recording) == (0.5, 1, "", "")
        sound, rate = soundfile.read(f"kept/{row.file}")
        assert (len(sound), rate) == (32_000, 16_000)
    assert {path.name for path in Path("kept").iterdir()} == {"kept.csv", ".lock", "1.flac", "2.flac"}


def test_listen_keeps_what_nearly_fires(listen, exported):
    spotter = Spotter.load(exported / "kws.tflite")
    chords = [0.03 * tone(300) + np.float32(level) * tone(3000) for level in np.geomspace(1e-4, 1, 100)]
    unsure = next(chord for chord in chords if spotter.clip(np.float32(chord))[0] < 0.99)
    sound = np.concatenate([tone(0), tone(0), np.float32(unsure), tone(0), tone(0)])
    soundfile.write("talk.wav", sound, 16_000, subtype="FLOAT")  # the network hears the last bit of 16 beside zeros
    score = max(scores[0] for scores in newest_lowest(spotter.windows([sound]), spotter.timing.held))
    above = (1 + score) / 2  # which it does not reach, with half of its odds
    code, out, err = listen("--keep", "kept", "--threshold", f"{above:.6f}")
    assert (code, out) == (0, [])
    assert err[-1].startswith("kept: kept 0 detected and 1 nearly detected words")
    [row] = KeptFolder(Path("kept")).rows()
    assert (row.word, row.fired, row.score) == ("low", "no", pytest.approx(score, abs=1e-3))


def test_the_oldest_without_an_answer_are_dropped_and_counted(listen):
    folder = KeptFolder(Path("kept"))
    listen("--keep", "kept")
    folder.set_answer("1.flac", "low")
    _, _, err = listen("--keep", "kept", "--keep-most", "2")
    assert err[-1] == (
        "kept: kept 2 detected and 0 nearly detected words; "
        "dropped the 1 oldest without an answer, since --keep-most is 2; next: kws review kept"
    )
    assert [(row.file, row.answer) for row in folder.rows()] == [("1.flac", "low"), ("3.flac", ""), ("4.flac", "")]
    assert sorted(path.name for path in Path("kept").glob("*.flac")) == ["1.flac", "3.flac", "4.flac"]


def test_listening_that_is_interrupted_keeps_what_it_has_heard(listen, monkeypatch):
    blocks = cli.read_blocks

    def interrupted(*arguments):
        for number, block in enumerate(np.array_split(np.concatenate(list(blocks(*arguments))), 80)):
            if number == 33:  # 3.3 s: the first word is detected, and its margin not yet heard
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(cli, "read_blocks", interrupted)
    code, out, err = listen("--keep", "kept")
    assert (code, len(out)) == (0, 1)
    assert err[-1].startswith("kept: kept 1 detected")
    [row] = KeptFolder(Path("kept")).rows()
    assert len(soundfile.read(f"kept/{row.file}")[0]) < 32_000


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_a_number_of_sounds_that_is_none_is_refused(listen, number):
    with pytest.raises(SystemExit) as exit_:
        listen("--keep", "kept", "--keep-most", number)
    assert exit_.value.code == 2


def test_a_folder_that_cannot_be_written_to_is_one_line(listen):
    Path("kept").write_text("a file")
    code, _, err = listen("--keep", "kept")
    assert code == 1
    assert err[-1] == "error: kept: File exists"


ROW = Kept("", "2026-05-31T18:04:09", "yes", 0.9, 0.8, "0" * 16, "no, yes", "yes", 0.5, 1.0)


def test_a_table_of_another_kind_is_refused_and_stays(tmp_path):
    (tmp_path / "kept.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="its columns are not file, time, word"):
        KeptFolder(tmp_path).add(np.zeros(9, np.float32), 16_000, ROW, 5)
    assert (tmp_path / "kept.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("old", "new", "told"), [("0.9", "much", "line 2 is not as"), ("1.flac", "../1.flac", "'../1.flac' is no name of")]
)
def test_a_row_that_was_changed_by_hand_is_named(tmp_path, old, new, told):
    folder = KeptFolder(tmp_path)
    folder.add(np.zeros(9, np.float32), 16_000, ROW, 5)
    table = tmp_path / "kept.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(UserError, match=told):
        folder.rows()


def test_a_folder_without_a_table_says_what_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"no kept\.csv in it; kws listen --keep"):
        KeptFolder(tmp_path / "none").rows()


def test_an_answer_to_a_file_that_is_gone_changes_nothing(tmp_path):
    folder = KeptFolder(tmp_path)
    folder.add(np.zeros(9, np.float32), 16_000, ROW, 5)
    before = folder.rows()
    with pytest.raises(KeyError):
        folder.set_answer("7.flac", "yes")
    assert folder.rows() == before


def test_sounds_and_answers_at_once_lose_nothing(tmp_path):
    folder = KeptFolder(tmp_path)
    for _ in range(20):
        folder.add(np.zeros(9, np.float32), 16_000, ROW, 99)
    with ThreadPoolExecutor(4) as pool:
        added = [pool.submit(KeptFolder(tmp_path).add, np.zeros(9, np.float32), 16_000, ROW, 99) for _ in range(20)]
        given = [pool.submit(KeptFolder(tmp_path).set_answer, f"{number}.flac", "no") for number in range(1, 21)]
        for one in (*added, *given):
            one.result()
    assert [(row.file, row.answer) for row in folder.rows()] == [
        (f"{number}.flac", "no" if number <= 20 else "") for number in range(1, 41)
    ]
