import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT, tone

from kws.spotting import cli

WORDS = [0, 0, 300, 0, 0, 3000, 0, 0]  # Hz, one a second: low after two seconds, high after five


@pytest.fixture
def recordings(tmp_path, monkeypatch) -> Path:
    """The folder that `kws` is started in: clips in several formats, a long file, and what is no sound."""
    monkeypatch.chdir(tmp_path)
    stereo = np.stack([1.2 * tone(300, 44_100), 0.8 * tone(300, 44_100)], axis=1)
    soundfile.write("stereo.wav", stereo, 44_100)
    Path("folder/deeper").mkdir(parents=True)
    soundfile.write("folder/b.flac", tone(3000, 48_000), 48_000)
    soundfile.write("folder/deeper/a.ogg", tone(300, 22_050), 22_050)
    soundfile.write("folder/c.mp3", tone(0, 16_000), 16_000)
    Path("folder/notes.txt").write_text("no sound")
    soundfile.write("long.wav", np.concatenate([tone(hertz, 22_050) for hertz in WORDS]), 22_050)
    Path("empty.wav").touch()
    Path("text.wav").write_text("this is a text\n" * 100)
    soundfile.write("nothing.wav", np.zeros(0), 16_000)
    Path("silent").mkdir()
    return tmp_path


@pytest.fixture
def kws(recordings, exported, capsys):  # noqa: ARG001 (the folder it is started in)
    """Runs a command line with the exported model, and returns the exit code and the lines on stdout and stderr."""

    def run(command: str, *files: str) -> tuple[int, list[str], list[str]]:
        model = (
            [str(exported / "kws.tflite")] if command.startswith("info") else ["--model", str(exported / "kws.tflite")]
        )
        code = cli.main([*command.split(), *model, *files])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_a_clip_of_any_rate_and_of_two_channels_has_three_likely_answers(kws):
    code, out, err = kws("predict", "stereo.wav")
    assert (code, err) == (0, [])
    [line] = out
    name, start, *answers = line.split("  ")
    assert (name, start) == ("stereo.wav", "0:00:00.0")
    words = [answer.split()[0] for answer in answers]
    shares = [float(answer.split()[1].rstrip("%")) for answer in answers]
    assert words[0] == "low"
    assert sorted(words) == ["_silence_", "high", "low"]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_a_folder_is_its_sound_files_in_any_format_by_name(kws):
    code, out, err = kws("predict --json", "folder")
    assert (code, err) == (0, [])
    answers = [json.loads(line) for line in out]
    assert [(one["file"], one["start"], one["answers"][0]["word"]) for one in answers] == [
        ("folder/b.flac", 0, "high"),
        ("folder/c.mp3", 0, "_silence_"),
        ("folder/deeper/a.ogg", 0, "low"),
    ]
    for one in answers:
        assert len(one["answers"]) == 3
        assert sum(answer["probability"] for answer in one["answers"]) == pytest.approx(1, abs=1e-3)


def test_in_a_long_file_words_are_found_with_their_times(kws):
    code, out, err = kws("predict --json", "long.wav")
    assert (code, err) == (0, [])
    found = [json.loads(line) for line in out]
    assert [one["answers"][0]["word"] for one in found] == ["low", "high"]
    assert [one["start"] for one in found] == pytest.approx([2, 5], abs=0.2)
    assert kws("predict", "long.wav")[1][1].startswith("long.wav  0:00:0")
    assert kws("predict --threshold 1", "long.wav") == (0, ["long.wav  -  no word"], [])
    assert [json.loads(line) for line in kws("predict --json --threshold 1", "long.wav")[1]] == [
        {"file": "long.wav", "start": None, "answers": []}
    ]


def test_a_clip_that_is_a_little_longer_is_still_one_clip(kws):
    soundfile.write("longer.wav", np.pad(tone(300), (0, 1500)), 16_000)
    [line] = kws("predict", "longer.wav")[1]
    assert line.startswith("longer.wav  0:00:00.0  low ")


def test_what_cannot_be_answered_is_one_line_each_and_the_others_are_answered(kws):
    files = ["empty.wav", "stereo.wav", "text.wav", "missing.wav", "nothing.wav", "silent", "folder/b.flac"]
    code, out, err = kws("predict", *files)
    assert code == 1
    assert [line.split("  ")[0] for line in out] == ["stereo.wav", "folder/b.flac"]
    starts = [
        "error: empty.wav: empty file",
        "error: text.wav: not audio: ",
        "error: missing.wav: No such file or directory",
        "error: nothing.wav: no samples",
        "error: silent: no sound files in this folder; their names end in .wav, .flac",
    ]
    assert len(err) == len(starts)
    assert all(line.startswith(start) for line, start in zip(err, starts, strict=True))


def test_names_that_are_no_text_are_printed_all_the_same(kws):
    name = b"\xff.wav".decode(errors="surrogateescape")
    shutil.copy("stereo.wav", name)
    assert kws("predict", name)[0] == 0


@pytest.mark.parametrize(
    "arguments", ["", "predict", "predict --threshold 2 a.wav", "predict --threshold x a.wav", "sing a.wav"]
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments.split())
    assert exit_.value.code == 2
    assert "usage: kws" in capsys.readouterr().err


@pytest.mark.usefixtures("recordings")
def test_without_a_model_one_line_says_what_makes_one(capsys):
    assert cli.main(["predict", "stereo.wav"]) == 1
    assert capsys.readouterr().err.startswith("error: models/export/kws.tflite: no such model; dvc repro export writes")


def test_info_says_what_a_model_recognises(kws):
    code, out, _ = kws("info")
    assert code == 0
    assert "classes     low, high, _silence_" in out
    assert "input       waveform of 1 s at 16000 Hz" in out
    assert "threshold   0.6, chosen for at most 0.5 false alarms per hour; 0.75 per hour in 4 h of test" in out
    about = json.loads(kws("info --json")[1][0])
    assert about["classes"] == ["low", "high", "_silence_"]
    assert about["front_end"]["mel_bins"] == 40


def test_listen_hears_a_file_in_place_of_a_microphone(kws):
    code, out, err = kws("listen", "--source", "long.wav")
    assert code == 0
    assert err == ["listening for low, high; threshold 0.60; Ctrl-C stops"]
    assert [line.split()[1] for line in out] == ["low", "high"]
    heard = [json.loads(line) for line in kws("listen --json", "--source", "long.wav")[1]]
    predicted = [json.loads(line) for line in kws("predict --json", "long.wav")[1]]
    assert [one["start"] for one in heard] == [one["start"] for one in predicted]
    assert [one["score"] for one in heard] == [one["answers"][0]["probability"] for one in predicted]


@pytest.mark.parametrize(("source", "told"), [("empty.wav", "empty file"), ("missing.wav", "No such file")])
def test_a_source_that_is_none_is_one_line(kws, source, told):
    code, _, err = kws("listen", "--source", source)
    assert code == 1
    assert err[-1].startswith(f"error: {source}: {told}")


def test_the_level_is_shown_on_a_terminal(kws, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = kws("listen", "--source", "long.wav")
    meter = "".join(err)
    assert f"[{'#' * 0:40}] -120 dB" in meter
    assert "-14 dB" in meter  # a third of a second of a sine of half the full scale
    assert f"[{'#' * 31:40}]" in meter


class Microphone:
    """What sounddevice opens: it hears two words, then it is pulled out."""

    stream = np.concatenate([tone(hertz) for hertz in WORDS])

    def __init__(self, **settings):
        assert settings == {
            "samplerate": 16_000,
            "blocksize": 1600,
            "device": settings["device"],
            "channels": 1,
            "dtype": "float32",
        }
        if settings["device"] not in (None, 3, "desk"):
            raise ValueError(f"No input device matching {settings['device']!r}")
        self.read_already = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, samples):
        first, self.read_already = self.read_already, self.read_already + samples
        if first >= len(self.stream):
            raise PulledOutError("Unanticipated host error")
        return self.stream[first : self.read_already, None], first == 1600


class PulledOutError(Exception):
    pass


@pytest.fixture
def sounddevice(monkeypatch):
    module = types.SimpleNamespace(InputStream=Microphone, PortAudioError=PulledOutError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


@pytest.mark.usefixtures("sounddevice")
@pytest.mark.parametrize("device", [[], ["--device", "3"], ["--device", "desk"]])
def test_listen_hears_the_microphone_until_it_is_gone(kws, device):
    code, out, err = kws("listen", *device)
    assert [line.split()[1] for line in out] == ["low", "high"]
    assert code == 1
    assert err[1:] == [
        "warning: sound was lost, since this machine is too slow",
        (
            "error: no microphone answers (Unanticipated host error); --device chooses one, "
            "or give a sound file: --source FILE"
        ),
    ]


@pytest.mark.usefixtures("sounddevice")
def test_a_device_that_is_not_there_is_one_line(kws):
    code, _, err = kws("listen", "--device", "kitchen")
    assert code == 1
    assert err[-1].startswith("error: no microphone answers (No input device matching 'kitchen'); --device chooses one")


@pytest.mark.usefixtures("sounddevice")
def test_ctrl_c_ends_listening_without_an_error(kws, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Microphone, "read", interrupt)
    assert kws("listen")[0] == 0


def test_without_the_package_of_the_microphone_one_line_says_what_to_install(kws, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = kws("listen")
    assert code == 1
    assert err[-1].startswith("error: the microphone needs the package sounddevice: pip install 'kws[listen]'")


def test_without_the_library_of_the_microphone_one_line_says_what_to_install(kws, monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    code, _, err = kws("listen")
    assert code == 1
    assert err[-1].startswith("error: the microphone needs the library PortAudio (Debian: libportaudio2)")


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """`python -m kws` as a process of its own."""
    command = [sys.executable, "-m", "kws", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


@pytest.mark.usefixtures("recordings")
def test_a_model_exported_before_a_change_of_the_word_list_still_names_its_words(exported):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params | {"words": ["high", "low", "more"]}))
    done = run("predict", "--json", "--model", exported / "kws_int8.tflite", "stereo.wav", "folder/b.flac")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["answers"][0]["word"] for line in done.stdout.splitlines()] == ["low", "high"]


@pytest.mark.usefixtures("recordings")
def test_a_reader_that_has_seen_enough_is_no_error(exported):
    command = f"{sys.executable} -m kws predict -m {exported / 'kws.tflite'} {'stereo.wav ' * 200} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stereo.wav  0:00:00.0  low ")
    assert done.stderr == ""


def test_help_names_the_commands():
    done = run("--help")
    assert done.returncode == 0
    for command in ("predict", "listen", "info"):
        assert command in done.stdout
