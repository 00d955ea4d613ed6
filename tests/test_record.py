"""`kws record` in the terminal: what it asks for, what it says of a take, the files. The page: test_record_page.py."""

import io
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from test_cli import FakeSounddevice

from kws.commands.exp import split_settings
from kws.core.errors import UserError
from kws.core.params import read_yaml
from kws.record import checks, page, terminal
from kws.record.checks import COUNT_SECONDS, COUNTS, SAMPLE_RATE, check_noise, check_take, take_samples
from kws.record.takes import Plan
from kws.recordings.archive import pack_folder, read_contents
from kws.recordings.layout import understand
from kws.spotting import cli

COUNTDOWN = COUNTS * COUNT_SECONDS
ROOM_DB = -70.0


def room(seconds: float, decibels: float = ROOM_DB, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE))
    return (samples * 10 ** (decibels / 20)).astype(np.float32)


def take(*said: tuple[float, float], decibels: float = -20.0, room_db: float = ROOM_DB) -> np.ndarray:
    """A take with sounds: when each begins after the countdown, and how long it lasts, in seconds."""
    samples = room(COUNTDOWN + 2, room_db)
    assert len(samples) == take_samples(1.0)
    for start, seconds in said:
        first = round((COUNTDOWN + start) * SAMPLE_RATE)
        time = np.arange(round(seconds * SAMPLE_RATE))[: len(samples) - first] / SAMPLE_RATE
        samples[first : first + len(time)] += 10 ** (decibels / 20) * np.sqrt(2) * np.sin(2 * np.pi * 1000 * time)
    return np.clip(samples, -1, 1).astype(np.float32)


GOOD = ((0.5, 0.4),)


def kinds(samples: np.ndarray, clip_seconds: float = 1.0) -> list[str]:
    return [problem.partition(":")[0] for problem in check_take(samples, clip_seconds).problems]


def test_what_is_recorded_is_what_the_pipeline_takes_by_default():
    params = read_yaml(ROOT / "params.yaml")
    assert params["sample_rate"] == SAMPLE_RATE
    assert params["clip_seconds"] == Plan(Path(), (), 1).clip_seconds


def test_a_good_take_is_kept_with_the_word_in_the_middle_of_a_clip():
    checked = check_take(take(*GOOD), 1.0)
    assert checked.problems == ()
    assert checked.end - checked.start == SAMPLE_RATE
    middle = (checked.start + checked.end) / 2 / SAMPLE_RATE
    assert middle == pytest.approx(COUNTDOWN + 0.5 + 0.4 / 2, abs=0.03)
    seconds, level, over = (float(part.split()[0]) for part in checked.about.split(", "))
    assert seconds == pytest.approx(0.4, abs=0.05)
    assert level == pytest.approx(-20, abs=1)
    assert over == pytest.approx(50, abs=6)  # a part of the room's noise is outside the band of speech


def test_a_long_word_keeps_its_margins():
    checked = check_take(take((0.3, 0.9)), 1.0)
    assert checked.problems == ()
    assert (checked.end - checked.start) / SAMPLE_RATE == pytest.approx(0.9 + 2 * checks.MARGIN_SECONDS, abs=0.05)


def test_a_key_at_the_start_is_no_sound_beside_the_word():
    samples = take(*GOOD)
    samples[2000:4000] = 0.5
    assert kinds(samples) == []


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (take(), ["no speech"]),
        (np.zeros(take_samples(1.0), np.float32), ["silent"]),
        (take(*GOOD, decibels=-50), ["too soft"]),
        (take(*GOOD, room_db=-22), ["too noisy"]),
        (take(*GOOD, decibels=0), ["clipped"]),
        (take((0.3, 1.2)), ["too long"]),
        (take((1.8, 0.5)), ["cut at the end"]),
        (take((-COUNTDOWN, 0.9)), ["cut at the start"]),
        (take((0.1, 0.3), (0.9, 0.3)), ["several"]),
        (take((0.1, 0.3), (1.8, 0.3)), ["several"]),  # the louder one is whole
        (take((0.1, 0.02), *GOOD), []),  # a click
        (take((-0.3, 0.5)), []),  # a little early, and whole
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else "",
)
def test_what_is_wrong_with_a_take_is_said(samples, expected):
    assert kinds(samples) == expected


def test_a_longer_clip_has_room_for_a_longer_word():
    samples = np.append(take((0.3, 1.2)), room(0.5, seed=1))
    assert kinds(samples, 1.5) == []


def test_where_nothing_is_heard_nothing_can_be_kept():
    for samples in (take(), np.zeros(take_samples(1.0), np.float32)):
        checked = check_take(samples, 1.0)
        assert checked.start == checked.end


def test_the_room_is_kept_whole_unless_nothing_is_heard():
    assert check_noise(room(60)) == checks.Checked(0, 60 * SAMPLE_RATE, (), "60 s, -73 dB")
    assert check_noise(np.zeros(SAMPLE_RATE, np.float32)).end == 0
    assert [each.partition(":")[0] for each in check_noise(np.sign(room(1))).problems] == ["clipped"]


# --- The command


@pytest.fixture
def kws(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Runs `kws record` on a sound, with these answers; returns the exit code and the lines on stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, takes: Sequence[np.ndarray], answers: str = "") -> tuple[int, list[str], list[str]]:
        soundfile.write("said.wav", np.concatenate(takes), SAMPLE_RATE)
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
        code = cli.main(["record", *command.split(), "--source", "said.wav"])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def files(folder: str = "recordings") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_words_are_said_in_turn_and_each_good_take_is_a_file(kws):
    code, out, err = kws("coffee blinds --speaker ada --takes 2 --yes", [take(*GOOD)] * 4)
    assert (code, err) == (0, [])
    assert [line for line in out if line.startswith(("coffee, ", "blinds, "))] == [
        "coffee, take 1 of 2, 4 to go: say it once, after the countdown",
        "blinds, take 1 of 2, 3 to go: say it once, after the countdown",
        "coffee, take 2 of 2, 2 to go: say it once, after the countdown",
        "blinds, take 2 of 2, 1 to go: say it once, after the countdown",
    ]
    assert files() == ["blinds/ada/1.flac", "blinds/ada/2.flac", "coffee/ada/1.flac", "coffee/ada/2.flac"]
    about = soundfile.info("recordings/coffee/ada/2.flac")
    assert (about.samplerate, about.channels, about.frames) == (SAMPLE_RATE, 1, SAMPLE_RATE)
    assert np.abs(soundfile.read("recordings/coffee/ada/2.flac")[0]).max() == pytest.approx(0.14, abs=0.01)
    assert out[-5:] == [
        "        ada",
        "coffee    2",
        "blinds    2",
        "recordings: takes as above, and 0 recordings of the room in _background_noise_",
        (
            "next: make exp PRESET=best SET='pretrained=kws dataset=recordings test_dataset= "
            "words=[coffee,blinds] computed_voices=60 synthetic_variety=1.0 unknown=5 silence=2'"
        ),
    ]


def test_the_speaker_is_asked_and_a_bad_take_is_made_again(kws):
    said = [take(*GOOD), take(*GOOD, decibels=-50), take(*GOOD), take(), take(*GOOD, decibels=-50)]
    code, out, _ = kws("coffee --speaker ada --takes 3", said, ["k", "", "", "k", "", "k"])
    assert code == 0
    assert files() == [f"coffee/ada/{number}.flac" for number in (1, 2, 3)]
    assert [line.partition(":")[0].strip() for line in out if "good:" in line or "too soft" in line] == [
        *("good", "too soft", "good", "too soft")
    ]
    loudest = [np.abs(soundfile.read(f"recordings/coffee/ada/{number}.flac")[0]).max() for number in (1, 2, 3)]
    assert loudest == pytest.approx([0.14, 0.14, 0.005], abs=0.003)  # the last one is kept, since the speaker says so


def test_a_take_in_which_nothing_was_said_cannot_be_kept(kws):
    _, out, _ = kws("coffee --speaker ada --takes 1", [take()], ["k", "q"])
    assert "  a again (or Enter), q quit:   a again (or Enter), q quit:" in "\n".join(out)
    assert not Path("recordings").exists()


def test_what_is_there_is_counted_and_the_rest_goes_on(kws):
    code, _, err = kws("coffee blinds --speaker ada --takes 2", [take(*GOOD)] * 4, ["k", "k", "k", "q"])
    assert (code, err) == (1, ["error: takes of ada are missing; the same command goes on"])
    assert files() == ["blinds/ada/1.flac", "coffee/ada/1.flac", "coffee/ada/2.flac"]
    Path("recordings/coffee/ada/1.flac").unlink()  # she does not like it
    Path("recordings/coffee/ada/.partial-3.flac").touch()  # of a run that was killed: no take
    code, out, _ = kws("coffee blinds --speaker ada --takes 2 --yes", [take(*GOOD)] * 2)
    assert code == 0
    assert out[0].startswith("coffee, take 2 of 2, 2 to go")
    blinds, coffee = files()[:2], files()[2:]
    assert blinds == ["blinds/ada/1.flac", "blinds/ada/2.flac"]
    assert coffee == ["coffee/ada/2.flac", "coffee/ada/3.flac"]
    assert kws("coffee blinds --speaker ada --takes 2", [take()])[0] == 0  # nothing is asked for


def test_a_file_that_is_no_sound_is_no_take(kws):
    for name in ("coffee/ada/notes.txt", "_background_noise_/README.md"):
        path = Path("recordings", name)
        path.parent.mkdir(parents=True)
        path.write_text("no sound")
    code, out, _ = kws("coffee --speaker ada --takes 1 --noise --yes", [room(60), take(*GOOD)])
    assert code == 0
    assert {"_background_noise_/1.flac", "coffee/ada/1.flac"} < set(files())
    assert out[-4:-1] == [
        "        ada",
        "coffee    1",
        "recordings: takes as above, and 1 recordings of the room in _background_noise_",
    ]


def test_with_yes_a_microphone_at_fault_ends_it(kws):
    said = [take()] * (terminal.MOST_BAD - 1) + [take(*GOOD)] + [take(*GOOD, decibels=-50)] * (terminal.MOST_BAD + 1)
    code, out, err = kws("coffee --speaker ada --takes 2 --yes", said)
    assert code == 1
    assert err == ["error: stopped after 5 takes in a row with a problem; mend it, and the same command goes on"]
    assert [line.partition(":")[0].strip() for line in out if line.startswith("  ")] == [
        *["no speech"] * 4,
        *("good", "kept"),  # a good take: the count begins anew
        *["too soft"] * 5,
        "ada",  # of the summary
    ]
    assert files() == ["coffee/ada/1.flac"]


def test_whoever_is_asked_may_try_as_often_as_they_like(kws):
    said = [take()] * (terminal.MOST_BAD + 1) + [take(*GOOD)]
    assert kws("coffee --speaker ada --takes 1", said, [""] * (terminal.MOST_BAD + 1) + ["k"])[0] == 0


def test_where_the_sound_ends_nothing_of_it_is_kept(kws):
    code, out, err = kws("coffee --speaker ada --yes", [take(*GOOD), take(*GOOD)[:-100]])
    assert code == 1
    assert "the sound has ended" in out
    assert err == ["error: takes of ada are missing; the same command goes on"]
    assert files() == ["coffee/ada/1.flac"]


def test_nobody_to_answer_ends_it(kws):
    assert kws("coffee --speaker ada", [take(*GOOD)])[0] == 1
    assert not Path("recordings").exists()


def test_the_room_and_other_words_are_recorded_too(kws):
    code, out, _ = kws("coffee --speaker ada --takes 1 --noise --other 2 --yes", [room(60), *[take(*GOOD)] * 3])
    assert code == 0
    assert out[0] == "the room, 1 of 1, 4 to go: a minute as it is, and nobody speaks"
    noise, *others = sorted(files(), key=lambda name: not name.startswith("_"))
    others.remove("coffee/ada/1.flac")
    assert noise == "_background_noise_/1.flac"
    assert soundfile.info("recordings/_background_noise_/1.flac").frames == 60 * SAMPLE_RATE
    assert len(others) == 2
    words = {name.partition("/")[0] for name in others}
    assert all(line.split() == [line.split()[0], "1"] for line in out if line.split()[0] in words and "," not in line)
    assert (
        kws("coffee --speaker ada --takes 1 --noise --other 2", [take()])[0] == 0
    )  # the same words, and they are there
    kws("coffee --speaker bob --takes 1 --other 2 --yes", [take(*GOOD)] * 3)
    read = {name.partition("/")[0] for name in files() if "/bob/" in name} - {"coffee"}
    assert len(read) == 2
    assert read != words  # so that the data set has more of them


@pytest.mark.usefixtures("kws")
def test_the_pipeline_reads_the_folder_as_it_is(tmp_path):
    words = ["lights on", "don't"]
    options = ["--takes", "2", "--other", "1", "--noise", "--yes", "--source", "said.wav"]
    for name in ("ada", "Zoë B"):
        first = [room(60)] if name == "ada" else []  # after that, the room is there
        soundfile.write("said.wav", np.concatenate([*first, *[take(*GOOD)] * 5]), SAMPLE_RATE)
        assert cli.main(["record", *words, "--speaker", name, *options]) == 0
    assert pack_folder(Path("recordings"), tmp_path / "own.tar") == {}
    layout = understand(read_contents(tmp_path / "own.tar"), words)
    clips = list(layout.clips)
    assert layout.speakers == "folders"
    assert layout.remarks == ("layout <word>/<speaker>/<file>",)
    assert layout.left_out == {}
    heard = [(clip.word, clip.speaker) for clip in clips if clip.word in words]
    assert sorted(heard) == sorted((word, name) for word in words for name in ("ada", "Zoë B") for _ in range(2))
    assert [clip.word for clip in clips if clip.word.startswith("_")] == ["_background_noise_"]
    assert len(clips) == 8 + 2 + 1


def test_the_next_command_is_one_that_make_exp_reads(tmp_path):
    plan = Plan(tmp_path / "my recordings", ["lights on", "don't"], 1).checked()
    *_, setting = shlex.split(plan.summary()[-1].removeprefix("next: "))
    assert split_settings(setting.removeprefix("SET=")) == [
        "pretrained=kws",
        f"dataset={tmp_path / 'my recordings'}",
        "test_dataset=",
        "words=[lights on,don't]",
        "computed_voices=60",
        "synthetic_variety=1.0",
        "unknown=5",
        "silence=2",
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("coffee", "--speaker NAME is missing: who speaks; each person has a name of their own"),
        ("--speaker ada", "nothing to record: give words, --other for other words, or --noise for the room"),
        ("_x_ --speaker ada", "'_x_' is no word: it begins with a letter or digit"),
        ("a/b --speaker ada", "'a/b' is no word: "),
        ("coffee Coffee --speaker ada", "Coffee: given as coffee before; give each word once"),
        ("Tea --speaker ada", "Tea: stands in recordings as tea; write it as it is there"),
        ("coffee --speaker ../ada", "speaker: '../ada' is no name of a speaker: it begins with a letter or digit"),
        ("coffee --speaker Tea", "speaker: Tea is a word in recordings, so the pipeline could not tell them apart"),
        ("coffee --speaker coffee", "speaker: coffee is a word in recordings"),
        ("coffee --speaker bob", "speaker: bob is Bob in recordings; write the name as it is there"),
        ("coffee --speaker heard-may", "speaker: heard-may begins with heard-, as folders of kws listen --keep do"),
        ("coffee --speaker ada --other 500", "--other 500: there are "),
        ("coffee --speaker ada --source https://a/b.wav", "https://a/b.wav: addresses are not read"),
        ("coffee --speaker ada --source nothing.wav", "nothing.wav: No such file or directory"),
        ("coffee --page --yes", "--yes: for the terminal alone; leave it out with --page"),
        ("coffee --page --no-playback", "--no-playback: for the terminal alone; leave it out with --page"),
        ("coffee --page --device 1 --yes", "--yes, --device: for the terminal alone; leave it out with --page"),
    ],
)
def test_what_cannot_be_recorded_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, command, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "serve", lambda *_: None)  # would go on until Ctrl-C
    Path("recordings/tea/Bob").mkdir(parents=True)
    assert cli.main(["record", *command.split()]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert files() == []


@pytest.mark.parametrize(
    "option", ["--takes 0", "--takes many", "--clip-seconds 0", "--clip-seconds long", "--noise 99", "--other -1"]
)
def test_numbers_out_of_range_are_wrong_usage(option, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["record", "coffee", *option.split()])
    assert exit_.value.code == 2
    assert f"argument {option.split()[0]}: " in capsys.readouterr().err


# --- The microphone


class Stream:
    """A microphone that hears a good take each time it is opened."""

    opened = 0

    def __init__(self, samplerate, blocksize, **_):
        Stream.opened += 1
        self.blocks = take(*GOOD).reshape(-1, blocksize, 1)
        assert samplerate == SAMPLE_RATE
        self.place = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, _):
        self.place += 1
        return self.blocks[self.place - 1], False


@pytest.fixture
def microphone(monkeypatch, tmp_path) -> FakeSounddevice:
    """The module sounddevice, which notes what it plays."""
    module = FakeSounddevice()
    module.played = []
    module.InputStream = Stream
    module.play = lambda samples, rate, blocking: module.played.append((samples, rate, blocking))
    monkeypatch.setattr(Stream, "opened", 0)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("k\nk\n"))
    return module


def test_the_microphone_is_opened_for_each_take_and_what_is_kept_is_played(microphone):
    assert cli.main(["record", "coffee", "--speaker", "ada", "--takes", "2"]) == 0
    assert Stream.opened == 2
    assert files() == ["coffee/ada/1.flac", "coffee/ada/2.flac"]
    for samples, rate, blocking in microphone.played:
        kept, _ = soundfile.read("recordings/coffee/ada/1.flac", dtype="float32")
        assert samples == pytest.approx(kept, abs=1e-4)
        assert (rate, blocking) == (SAMPLE_RATE, True)
    assert len(microphone.played) == 2


def test_nothing_is_played_where_that_is_not_wanted(microphone):
    assert cli.main(["record", "coffee", "--speaker", "ada", "--takes", "1", "--no-playback"]) == 0
    assert microphone.played == []


def test_a_terminal_shows_the_countdown_and_the_level(microphone, monkeypatch, capsys):  # noqa: ARG001
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["record", "coffee", "--speaker", "ada", "--takes", "1", "--yes"]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.split("\r")]
    labels = [line.partition("  [")[0] for line in shown if line.endswith("dB")]
    assert list(dict.fromkeys(labels)) == ["3 ...", "2 ...", "1 ...", "coffee"]
    assert labels.count("2 ...") == pytest.approx(COUNT_SECONDS / 0.02, abs=1)
    assert any("-20 dB" in line for line in shown if line.startswith("coffee"))


def test_ctrl_c_ends_with_the_summary(microphone, monkeypatch, capsys):  # noqa: ARG001
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "read", interrupt)
    assert cli.main(["record", "coffee", "--speaker", "ada"]) == 130
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: make exp")


def test_a_speaker_that_plays_nothing_is_one_line(microphone, capsys):
    def broken(*_, **__):
        raise microphone.PortAudioError("Device unavailable")

    microphone.play = broken
    assert cli.main(["record", "coffee", "--speaker", "ada"]) == 1
    assert capsys.readouterr().err == "error: no sound can be played (Device unavailable); --no-playback does without\n"


def test_without_its_packages_one_line_says_what_to_install():
    program = "import sys; sys.modules['scipy'] = None; from kws.spotting.cli import main; sys.exit(main(['record']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: kws record needs the package scipy: pip install 'kws[record]'\n"


def test_without_the_package_of_the_microphone_one_line_says_what_to_install(microphone, monkeypatch, capsys):  # noqa: ARG001
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert cli.main(["record", "coffee", "--speaker", "ada"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the microphone needs the package sounddevice: pip install sounddevice, or give")


def test_two_who_record_at_once_overwrite_nothing(tmp_path):
    plan = Plan(tmp_path, ["coffee"], 20)
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda _: plan.keep("coffee", "ada", room(0.1)), range(20)))
    assert sorted(int(path.stem) for path in paths) == list(range(1, 21))


def test_a_name_is_kept_in_one_unicode_form(tmp_path):
    plan = Plan(tmp_path, ["gru\u0308n"], 1).checked()
    assert plan.words == ["grün"]
    assert plan.speaker("Zoe\u0308") == "Zoë"
    with pytest.raises(UserError, match="spaces around it"):
        plan.speaker(" ada")
