import ctypes
import gzip
import hashlib
import io
import json
import os
import runpy
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RECORDINGS, ROOT, contents_of, needs_recordings

from kws.core import params
from kws.core.errors import UserError
from kws.core.files import read_csv
from kws.download import sources
from kws.download.report import report_lines
from kws.download.voices import beside, synthetic
from kws.recordings import licences
from kws.recordings.clips import UNHEARD, Clip, read_clips
from kws.recordings.layout import understand
from kws.recordings.source import Archive

WORDS = ["no", "yes"]
NAMES = [f"{word}/{speaker}_nohash_{take}.wav" for word in WORDS for speaker in ("ann", "bob") for take in (0, 1)]


@pytest.fixture(autouse=True)
def _in_a_project_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


OTHER_SPEECH = {
    "dataset": "synthetic",
    "archive": "other_speech.tar",
    "address": "made here, by text-to-speech",
    "bytes": 10240,
    "sha256": hashlib.sha256(bytes(10240)).hexdigest(),
    "checked": False,
    "licence": licences.ESPEAK,
}
OTHER_SPEAKERS: list[synthetic.Voices] = []  # the voices that were asked to say other words


@pytest.fixture(autouse=True)
def _voices_that_say_other_words(monkeypatch):
    """Quick ones: they say nothing, and are noted."""
    OTHER_SPEAKERS.clear()

    def write_other_speech(target: Path, words: list[str], voices: synthetic.Voices) -> list[Clip]:
        OTHER_SPEAKERS.append(voices)
        target.write_bytes(bytes(10240))
        return [Clip(f"_other_speech_/{words[0]}/{split}", words[0], split, split) for split in UNHEARD]

    monkeypatch.setattr(synthetic, "write_other_speech", write_other_speech)


@pytest.fixture
def stage(write_params) -> Callable[..., None]:
    """Runs a stage with these parameters."""

    def run(name: str = "download", **changes: object) -> None:
        write_params(**{"words": WORDS, **changes})
        runpy.run_path(str(ROOT / "stages" / f"{name}.py"))["main"]()

    return run


def make_tar(path: Path, names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    return path


def make_folder(path: Path, names: list[str]) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode())
    return path


def source() -> dict:
    return json.loads(Path("data/raw/source.json").read_text())


def metrics() -> dict:
    return json.loads(Path("metrics/download.json").read_text())


def clips() -> list[str]:
    return [clip.name for clip in read_clips(Path("data/raw/clips.csv"))]


def left_out() -> dict[str, str]:
    return {row["name"]: row["reason"] for row in read_csv(Path("data/raw/left_out.csv"))}


def test_the_published_sets_are_those_that_the_parameters_know():
    assert set(sources.PUBLISHED) == {*params.PUBLISHED, "speech_commands_test_set"}  # which is for test_dataset


def test_a_published_set_is_compared_with_what_its_publisher_has(stage, monkeypatch):
    asked = []

    def fetch(url: str, target: Path, *, size: int | None = None, sha256: str | None = None) -> str:
        asked.append((url, size, sha256))
        make_tar(target, NAMES)
        return "0" * 64

    monkeypatch.setattr(sources, "fetch", fetch)
    stage(dataset="speech_commands")
    address = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
    assert asked == [(address, 2_428_923_189, sources.PUBLISHED["speech_commands"].sha256)]
    assert source()["checked"] is True
    assert "CC BY 4.0" in source()["licence"]


def test_a_mirror_is_recorded_and_its_checksum_said(stage, tmp_path, capsys):
    mirror = make_tar(tmp_path / "a mirror" / "other name.tar", [*NAMES, "_background_noise_/tap.wav", "README.md"])
    stage(dataset="speech_commands", dataset_url=mirror.as_uri())
    digest = hashlib.sha256(mirror.read_bytes()).hexdigest()
    assert source() == {
        "dataset": "speech_commands",
        "archive": "speech_commands_v0.02.tar.gz",
        "address": "other name.tar",
        "bytes": mirror.stat().st_size,
        "sha256": digest,
        "checked": False,
        "licence": sources.PUBLISHED["speech_commands"].licence,
        "synthetic": False,
        "speakers": "file names",
        "given_splits": False,
        "words": {"no": 4, "yes": 4},
        "clips": 8,
        "test": None,
        "test_synthetic": False,
        "computed": None,
        "other_speech": OTHER_SPEECH,
        "unheard": {"unheard_validation": "computed", "unheard_test": "computed"},
    }
    assert clips() == sorted([*NAMES, "_background_noise_/tap.wav"])
    assert metrics() == {
        "clips": 8,
        "words": 2,
        "speakers": 2,
        "bytes": mirror.stat().st_size,
        "synthetic": 0,
        "left_out": 1,
    }
    assert Path("data/raw/speech_commands_v0.02.tar.gz").read_bytes() == mirror.read_bytes()
    printed = capsys.readouterr().out
    assert "other name.tar: 8 clips, 2 words, 2 speakers\n" in printed
    assert "layout <word>/<speaker>_nohash_<number>\n" in printed
    assert "left out, no sound: 1 (README.md); data/raw/left_out.csv names them all\n" in printed
    assert left_out() == {"README.md": "no sound"}
    assert digest in printed


def test_a_mirror_is_compared_with_the_checksum_given_for_it(stage, tmp_path):
    mirror = make_tar(tmp_path / "mirror.tar", NAMES)
    stage(
        dataset="mini_speech_commands",
        dataset_url=mirror.as_uri(),
        dataset_sha256=hashlib.sha256(mirror.read_bytes()).hexdigest(),
    )
    assert source()["checked"] is True


def test_an_address_of_ones_own_keeps_its_file_name(stage, httpserver):
    archive = make_tar(Path("elsewhere/x.tar"), NAMES)
    httpserver.expect_request("/data/My set.tar").respond_with_data(archive.read_bytes())
    stage(dataset=httpserver.url_for("/data/My%20set.tar?version=2"))
    assert source()["archive"] == "My_set.tar"
    assert source()["dataset"] == source()["address"]
    assert Path("data/raw/My_set.tar").read_bytes() == archive.read_bytes()


def test_credentials_in_an_address_are_used_and_written_nowhere(stage, httpserver, capsys):
    archive = make_tar(Path("elsewhere/x.tar"), NAMES)
    credentials = {"Authorization": "Basic bWU6c2VjcmV0"}  # me:secret
    request = httpserver.expect_request("/words.tar", query_string={"token": "secret"}, headers=credentials)
    request.respond_with_data(archive.read_bytes())
    address = httpserver.url_for("/words.tar")
    stage(dataset=address.replace("://", "://me:secret@") + "?token=secret")
    assert source()["dataset"] == source()["address"] == address
    written = [path for folder in ("data", "metrics") for path in Path(folder).rglob("*") if path.is_file()]
    assert Path("data/raw/words.tar") in written
    assert not [path for path in written if b"secret" in path.read_bytes()]
    assert "secret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("address", ["file:///a/..%2f..", "file:///a/%2e%2e", "file:///"])
def test_an_address_cannot_name_a_file_elsewhere(address):
    assert sources._file_name(address) == "archive"


def test_an_address_of_another_kind_is_refused(stage):
    with pytest.raises(UserError, match=r"s3://bucket/a\.tar is no address that kws can read"):
        stage(dataset="s3://bucket/a.tar")


def test_a_folder_of_speakers_is_packed(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", ["no/ann/1.wav", "no/bob/1.flac", "no/bob/2.ogg", "yes/ann/1.mp3", "notes.txt"])
    stage(dataset="mine")
    assert source()["archive"] == "own.tar"
    assert source()["address"] == "mine"
    assert source()["speakers"] == "folders"
    assert metrics()["speakers"] == 2
    assert clips() == ["no/ann/1.wav", "no/bob/1.flac", "no/bob/2.ogg", "yes/ann/1.mp3"]
    printed = capsys.readouterr().out
    assert "layout <word>/<speaker>/<file>\n" in printed
    assert "counts as another speaker" not in printed
    assert "no folder _background_noise_: computed noises stand in for background recordings\n" in printed
    assert "left out, no sound: 1 (notes.txt); data/raw/left_out.csv names them all\n" in printed
    assert left_out() == {"notes.txt": "no sound"}
    assert metrics()["left_out"] == 1


def test_a_folder_of_nohash_names_keeps_its_speakers(stage, tmp_path):
    make_folder(tmp_path / "mine", NAMES)
    stage(dataset="mine")
    assert source()["speakers"] == "file names"
    assert metrics()["speakers"] == 2


def test_files_without_speakers_are_said_to_be_so(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", ["no/1.wav", "yes/1.wav"])
    stage(dataset="mine")
    assert source()["speakers"] == "one a file"
    assert "each file counts as another speaker, since no name says who speaks\n" in capsys.readouterr().out


def test_relative_paths_mean_the_projects_root_in_a_queued_run_too(write_params, tmp_path, monkeypatch):
    make_folder(tmp_path / "mine", NAMES)
    write_params(words=WORDS, dataset="mine")
    copy = tmp_path / ".dvc" / "tmp" / "copy"
    copy.mkdir(parents=True)
    (tmp_path / "params.yaml").rename(copy / "params.yaml")
    monkeypatch.chdir(copy)
    runpy.run_path(str(ROOT / "stages" / "download.py"))["main"]()
    assert source()["clips"] == len(NAMES)
    assert not (tmp_path / "data").exists()


def test_a_tilde_means_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_tar(tmp_path / "mine.tar", NAMES)
    assert sources.own_path("~/mine.tar") == tmp_path / "mine.tar"


def test_an_archive_of_ones_own_is_copied(stage, tmp_path):
    archive = make_tar(tmp_path / "my words.tar", NAMES)
    stage(dataset=str(archive))
    assert source()["archive"] == "my_words.tar"
    assert archive.exists()


def test_a_folder_of_archives_is_one_data_set_in_parts(stage, tmp_path, capsys):
    parts = tmp_path / "mine"
    make_tar(parts / "b.tar", NAMES[3:])
    with tarfile.open(make_tar(parts / "a", NAMES[:3])) as tar:
        kept = [info.name for info in tar]
    (parts / "a").write_bytes(gzip.compress((parts / "a").read_bytes()))
    (parts / "README.txt").write_text("hello")
    (parts / ".DS_Store").write_bytes(b"")
    stage(dataset="mine")
    assert clips() == sorted(NAMES)
    assert kept == NAMES[:3]
    assert sorted(path.name for path in Path("data/raw/parts").iterdir()) == ["a", "b.tar"]
    sizes = [path.stat().st_size for path in Path("data/raw/parts").iterdir()]
    digests = [hashlib.sha256((parts / name).read_bytes()).hexdigest() for name in ("a", "b.tar")]
    wanted = hashlib.sha256(f"a\0{digests[0]}\nb.tar\0{digests[1]}\n".encode()).hexdigest()
    assert source() | {"archive": "parts", "bytes": sum(sizes), "sha256": wanted} == source()
    assert "left out, no archive, beside archives: 1 (README.txt)" in capsys.readouterr().out


def test_a_name_in_two_parts_is_refused(stage, tmp_path):
    for part in ("1.tar", "2.tar"):
        make_tar(tmp_path / "mine" / part, NAMES)
    with pytest.raises(UserError, match=r"^parts: holds .* twice; each file may be there once$"):
        stage(dataset="mine")
    assert not Path("data/raw").exists()


def test_an_archive_beside_folders_of_words_is_no_part(stage, tmp_path):
    make_tar(make_folder(tmp_path / "mine", NAMES) / "old.tar", ["yes/old.wav"])
    stage(dataset="mine")
    assert source()["archive"] == "own.tar"
    assert clips() == sorted(NAMES)


def test_a_path_with_nothing_there_says_what_dataset_may_be(stage):
    with pytest.raises(
        UserError, match=r"mini_speech does not exist .*synthetic, mini_speech_commands, speech_commands, "
    ):
        stage(dataset="mini_speech")


@pytest.mark.parametrize("dataset", [".", "..", "data", "data/raw", "data/raw/old"])
def test_the_projects_own_outputs_are_no_data_set(stage, tmp_path, dataset):
    (tmp_path / "data/raw/old").mkdir(parents=True)
    with pytest.raises(UserError, match="contains outputs of the project"):
        stage(dataset=dataset)
    assert Path("data/raw/old").is_dir()


def test_synthetic_speech_is_made_of_the_words_and_says_that_it_is_synthetic(stage, monkeypatch):
    def write_corpus(
        target: Path, words: list[str], voices: synthetic.Voices, others: list[str], others_each: int
    ) -> None:
        assert (others, others_each) == ([], 0)
        assert voices == synthetic.Voices(
            speakers=20, variety=0.5, neural_share=0.3, seed=1, language="en-gb", clip_seconds=1.5
        )
        make_tar(target, [f"{word}/{number}_nohash_0.wav" for word in words for number in range(voices.speakers)])

    monkeypatch.setattr(synthetic, "write_corpus", write_corpus)
    changes = {"synthetic_speakers": 20, "synthetic_variety": 0.5, "neural_share": 0.3}
    stage(dataset="synthetic", language="en-gb", clip_seconds=1.5, **changes)
    assert source()["synthetic"] is source()["test_synthetic"] is True
    assert source()["archive"] == "synthetic.tar"
    assert source()["licence"] == licences.ESPEAK_AND_HIBARI
    assert metrics() | {"bytes": 0} == {
        "clips": 40,
        "words": 2,
        "speakers": 20,
        "bytes": 0,
        "synthetic": 1,
        "left_out": 0,
    }


def test_other_words_that_voices_say_for_unknown_are_told(stage, monkeypatch, capsys):
    def write_corpus(target: Path, words: list[str], _: object, others: list[str], others_each: int) -> None:
        assert others_each == 3
        make_tar(target, [f"{word}/{number}_nohash_0.wav" for word in [*words, *others] for number in range(9)])

    monkeypatch.setattr(synthetic, "write_corpus", write_corpus)
    stage(dataset="synthetic", words=["garden"], unknown=2.5)
    assert (
        "the voices also say 39 other words, made up for _unknown_: afternoon, airplane, apple"
        in capsys.readouterr().out
    )
    assert metrics()["words"] == len(source()["words"]) == 40


def test_a_folder_that_is_written_almost_as_a_word_is_told(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", [*NAMES, "Yes/a_nohash_0.wav", "Yes/b_nohash_0.wav"])
    stage(dataset="mine")
    told = "the folder 'Yes' (2 clips) is not taken for 'yes'; rename it if it is that word"
    assert told in capsys.readouterr().out.splitlines()
    stage(dataset="mine", unknown=1.0)
    told = (
        "the folder 'Yes' (2 clips) is not taken for 'yes'; its clips count as other words, since unknown is on; "
        "rename it if it is that word"
    )
    assert told in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("unknown", "use"), [(0, "not used, since unknown is 0"), (1.0, "count as other words, since unknown is on")]
)
def test_recordings_of_other_words_are_counted(stage, tmp_path, capsys, unknown, use):
    others = ["maybe/ann/1.wav", "maybe/bob/1.wav", "a/bob/1.wav", "b/bob/1.wav", "c/bob/1.wav", "_unknown_/bob/1.wav"]
    make_folder(tmp_path / "mine", [*NAMES, *others])
    stage(dataset="mine", unknown=unknown)
    told = f"5 recordings in 4 other folders are not words of this experiment: a (1), b (1), c (1) and 1 more; {use}"
    assert told in capsys.readouterr().out.splitlines()


def test_the_lines_on_a_test_data_set_are_about_its_own_archive(write_params):
    write_params(words=WORDS, test_dataset="https://example.org/theirs.tar", unknown=1.0)
    theirs = Archive("theirs", "theirs.tar", "theirs.tar", 1, "0a1b", checked=False, licence="not known")
    layout = understand(contents_of(["yes/ann/1.wav", "Yes/ann/1.wav"]), WORDS)
    use = "training does not hear these words; false alarms are measured with them"
    assert report_lines(theirs, layout, {"yes/list.pdf": "no sound"}, params.load_params()) == [
        "Its SHA-256 was not checked. It is 0a1b",
        *layout.remarks,
        "left out, no sound: 1 (yes/list.pdf); data/raw/left_out.csv names them all",
        f"1 recordings in 1 other folders are not words of this experiment: Yes (1); {use}",
        "the folder 'Yes' (1 clips) is not taken for 'yes'; rename it if it is that word",
    ]


def test_a_name_that_is_not_utf_8_is_listed_and_printed(stage, tmp_path, capsys):
    folder = make_folder(tmp_path / "mine", NAMES)
    Path(os.fsdecode(os.fsencode(folder) + b"/yes/notiz\xe9.txt")).write_text("x")
    stage(dataset="mine")
    assert left_out() == {"yes/notiz\\xe9.txt": "no sound"}
    assert "left out, no sound: 1 (yes/notiz\\xe9.txt); " in capsys.readouterr().out


def test_the_same_twice_gives_the_same_bytes(stage, tmp_path):
    make_folder(tmp_path / "mine", NAMES)
    stage(dataset="mine")
    first = {path.name: path.read_bytes() for path in Path("data/raw").iterdir()}
    stage(dataset="mine")
    assert {path.name: path.read_bytes() for path in Path("data/raw").iterdir()} == first


def test_a_word_that_is_not_there_lists_those_that_are(stage, tmp_path):
    make_folder(tmp_path / "mine", [*NAMES, "_background_noise_/tap.wav"])
    with pytest.raises(UserError, match=r"no clip of maybe; it has no, yes$"):
        stage(dataset="mine", words=["no", "maybe"])


def _truncated(path: Path) -> None:
    path.write_bytes(make_tar(path, NAMES).read_bytes()[:3000])


def _truncated_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in NAMES:
            zipped.writestr(name, name)
    path.write_bytes(path.read_bytes()[:-100])


def _html(path: Path) -> None:
    path.write_text("<!doctype html><title>Sign in</title>")


def _empty(path: Path) -> None:
    make_tar(path, [])


def _traversal(path: Path) -> None:
    make_tar(path, [*NAMES, "../x.wav"])


def _missing(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncated, "cut off or damaged"),
        (_truncated_zip, "cut off or damaged"),
        (_html, "it is an HTML page, not an archive"),
        (_empty, "no clip of no, yes"),
        (_traversal, r"refused.*\.\./x\.wav"),
        (_missing, "No such file"),
    ],
)
def test_what_fails_leaves_the_earlier_data_as_they_were(stage, tmp_path, spoil, message):
    archive = tmp_path / "set.tar"
    for earlier in (None, make_tar(archive, NAMES).as_uri()):
        if earlier:
            make_tar(archive, NAMES)
            stage(dataset=earlier)
        before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
        spoil(archive)
        with pytest.raises(UserError, match=message):
            stage(dataset=archive.as_uri())
        assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before
        assert Path("data/raw").exists() == bool(earlier)
    assert not (tmp_path.parent / "x.wav").exists()


def test_a_mistake_is_one_line_and_no_traceback(write_params, tmp_path):
    write_params(dataset="nowhere")
    command = [sys.executable, str(ROOT / "stages" / "download.py")]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: dataset: nowhere does not exist")
    assert result.stderr.count("\n") == 1


@needs_recordings
def test_the_real_recordings_are_listed(stage, tmp_path):
    command = [sys.executable, str(RECORDINGS / "build.py"), str(tmp_path), "--per-word", "3", "--only", "mini"]
    subprocess.run(command, check=True)
    archive = tmp_path / "mini_speech_commands.zip"
    stage(dataset="mini_speech_commands", dataset_url=archive.as_uri(), words=["no", "yes", "up"])
    assert source()["words"] == dict.fromkeys(["down", "go", "left", "no", "right", "stop", "up", "yes"], 3)
    assert source()["speakers"] == "file names"
    assert metrics()["clips"] == 24


def test_what_is_left_out_is_told_by_kind_with_the_first_names_of_the_test_data_set_too(stage, tmp_path, capsys):
    notes = [f"no/{number}.txt" for number in range(5)]
    make_folder(tmp_path / "mine", [*NAMES, *notes, "stray.wav", "no/.hidden.wav"])
    make_tar(tmp_path / "theirs.tar", [*TESTED, "yes/list.pdf"])
    stage(dataset="mine", test_dataset="theirs.tar")
    assert left_out() == dict.fromkeys([*notes, "test/yes/list.pdf"], "no sound") | {
        "stray.wav": "it is in no folder of a word"
    }
    assert metrics()["left_out"] == 7
    printed = capsys.readouterr().out
    all_of_them = "data/raw/left_out.csv names them all"
    assert f"\nleft out, no sound: 5 (no/0.txt, no/1.txt, no/2.txt and 2 more); {all_of_them}\n" in printed
    assert f"\ntest_dataset: left out, no sound: 1 (yes/list.pdf); {all_of_them}\n" in printed
    assert f"left out, it is in no folder of a word: 1 (stray.wav); {all_of_them}\n" in printed


def test_a_near_miss_of_a_folders_name_is_said(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", [*NAMES, "_background_noise/tap.wav"])
    stage(dataset="mine")
    used = "the folder '_background_noise' is not used, since its name begins with _"
    assert f"{used}; if it is _background_noise_, rename it" in capsys.readouterr().out.splitlines()


def test_the_splits_that_folders_give_are_in_the_list(stage, tmp_path):
    names = [
        f"{split}/{word}/{split}{number}.wav"
        for split in ("train", "dev", "test")
        for word in WORDS
        for number in (0, 1)
    ]
    make_folder(tmp_path / "mine", names)
    stage(dataset="mine")
    assert {clip.name: clip.split for clip in read_clips(Path("data/raw/clips.csv"))} == {
        name: {"train": "train", "dev": "validation", "test": "test"}[name.split("/")[0]] for name in names
    }


def test_recordings_without_any_folder_say_where_they_belong(stage, tmp_path):
    make_folder(tmp_path / "mine", ["yes.ann.1.wav", "no.ann.1.wav"])
    with pytest.raises(
        UserError, match=r"no clip of no, yes, and no folders of words at all: recordings belong in <word>/"
    ):
        stage(dataset="mine")


TESTED = [f"{word}/{speaker}_nohash_0.wav" for word in (*WORDS, "cat") for speaker in ("tom", "ute")]


def clips_for_testing() -> list[str]:
    return [clip.name for clip in read_clips(Path("data/raw/test/clips.csv"))]


def test_a_test_data_set_lies_beside_the_other_and_is_recorded(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", NAMES)
    tested = make_tar(tmp_path / "their words.tar", TESTED)
    stage(dataset="mine")
    without = source(), metrics()
    stage(dataset="mine", test_dataset="their words.tar")
    assert source() == without[0] | {
        "test": {
            "dataset": "their words.tar",
            "archive": "their_words.tar",
            "address": "their words.tar",
            "bytes": tested.stat().st_size,
            "sha256": hashlib.sha256(tested.read_bytes()).hexdigest(),
            "checked": False,
            "licence": "not known",
        },
        "unheard": {"unheard_validation": "computed", "unheard_test": "test_dataset"},
    }
    assert metrics() == without[1]
    assert clips() == sorted(NAMES)
    assert clips_for_testing() == sorted(TESTED)
    assert Path("data/raw/test/their_words.tar").read_bytes() == tested.read_bytes()
    assert "mine: 8 clips, 2 words, 2 speakers\n" in capsys.readouterr().out
    stage(dataset="mine")
    assert source() == without[0]
    assert not Path("data/raw/test").exists()


def test_the_published_test_set_is_compared_with_what_its_publisher_has(stage, tmp_path, monkeypatch):
    asked = []

    def fetch(url: str, target: Path, *, size: int | None = None, sha256: str | None = None) -> str:
        asked.append((url, size, sha256))
        make_tar(target, [*TESTED, "_unknown_/x_nohash_0.wav", "_silence_/y_nohash_0.wav"])
        return "0" * 64

    make_folder(tmp_path / "mine", NAMES)
    monkeypatch.setattr(sources, "fetch", fetch)
    stage(dataset="mine", test_dataset="speech_commands_test_set")
    address = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz"
    assert asked == [(address, 112_563_277, sources.PUBLISHED["speech_commands_test_set"].sha256)]
    assert source()["test"]["checked"] is True
    assert {"_unknown_/x_nohash_0.wav", "_silence_/y_nohash_0.wav"} < set(clips_for_testing())


def test_voices_of_a_test_data_set_are_not_computed(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "write_corpus", lambda target, *_: make_tar(target, NAMES))
    make_folder(tmp_path / "theirs", TESTED)
    stage(dataset="synthetic", test_dataset="theirs")
    assert source()["synthetic"] is True
    assert source()["test_synthetic"] is False


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        ("nowhere", "^test_dataset: nowhere does not exist"),
        ("data", "^test_dataset: data contains outputs of the project"),
        ("s3://bucket/a.tar", "^test_dataset: s3://bucket/a.tar is no address that kws can read"),
        ("synthetic", "test_dataset: synthetic is not allowed; give recordings"),
        ("no yes.tar", "^test_dataset: words: the data set has no clip of yes; it has no$"),
        ("damaged.tar", "^test_dataset: .*damaged.tar.* cut off or damaged"),
    ],
)
def test_a_test_data_set_that_cannot_be_had_is_named_and_leaves_the_earlier_data_as_they_were(
    stage, tmp_path, tested, message
):
    make_folder(tmp_path / "mine", NAMES)
    make_tar(tmp_path / "no yes.tar", ["no/tom_nohash_0.wav"])
    damaged = make_tar(tmp_path / "damaged.tar", TESTED)
    damaged.write_bytes(damaged.read_bytes()[:3000])
    stage(dataset="mine")
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=message):
        stage(dataset="mine", test_dataset=tested)
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before


def test_the_data_set_itself_is_no_test_data_set_however_it_is_written(stage, tmp_path):
    make_folder(tmp_path / "mine", NAMES)
    with pytest.raises(UserError, match=r"^test_dataset: \./mine/ is also dataset; give recordings that are not"):
        stage(dataset="mine", test_dataset="./mine/")


def test_what_is_left_out_of_the_test_data_set_is_told_apart(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", NAMES)
    make_folder(tmp_path / "tests", ["yes/x/1.wav", "no/x/1.wav", "notes.txt", "_background_noise/hum.wav"])
    stage(dataset="mine", test_dataset="tests")
    lines = capsys.readouterr().out.splitlines()
    assert "test_dataset: left out, no sound: 1 (notes.txt); data/raw/left_out.csv names them all" in lines
    assert any(line.startswith("test_dataset: the folder '_background_noise' is not used") for line in lines)
    assert not any(line.startswith("left out") for line in lines)
    assert left_out() == {"test/notes.txt": "no sound"}


# Computed voices that say other words


def other_speech_lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("other speech of ")]


def many(words: list[str], speakers: int) -> list[str]:
    return [f"{word}/{number:08x}_nohash_0.wav" for word in words for number in range(speakers)]


def test_where_a_data_set_has_no_other_words_computed_voices_say_some_and_a_line_says_so(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", NAMES)
    stage(dataset="mine", synthetic_variety=0.2, clip_seconds=1.5, language="de")
    assert source()["other_speech"] == OTHER_SPEECH
    assert source()["unheard"] == {"unheard_validation": "computed", "unheard_test": "computed"}
    assert [synthetic.Voices(24, 1.0, 0.0, 1, "en", 1.5)] == OTHER_SPEAKERS
    listed = read_clips(Path("data/raw/other_speech.csv"))
    assert [clip.split for clip in listed] == ["validation", "test"]
    computed = "other speech of the streams is computed (English words):"
    assert other_speech_lines(capsys) == [f"{computed} the data set has no other words"]
    make_folder(tmp_path / "mine", ["cat/ann_nohash_0.wav", "cat/bob_nohash_0.wav"])
    stage(dataset="mine")
    assert other_speech_lines(capsys) == [
        f"{computed} the data set has few other words that training need not hear (2 clips)"
    ]


def test_words_of_the_data_set_are_not_said_by_computed_voices(stage, tmp_path):
    make_folder(tmp_path / "mine", [*NAMES, "address/ann_nohash_0.wav", "_unknown_/blanket_0c540988_nohash_0.wav.wav"])
    stage(dataset="mine", words=["no", "yes"])
    assert {clip.word for clip in read_clips(Path("data/raw/other_speech.csv"))} == {"bottle"}


@pytest.mark.parametrize("unheard_words", [0.5, 0.0])
def test_where_a_published_set_has_other_words_nothing_is_computed(stage, tmp_path, capsys, unheard_words):
    mirror = make_tar(tmp_path / "full.tar", many([*WORDS, "bird", "cat"], 400))
    stage(dataset="speech_commands", dataset_url=mirror.as_uri(), unheard_words=unheard_words)
    assert (source()["other_speech"], OTHER_SPEAKERS, other_speech_lines(capsys)) == (None, [], [])
    assert source()["unheard"] == {"unheard_validation": "dataset", "unheard_test": "dataset"}
    assert not Path("data/raw/other_speech.tar").exists()
    stage(dataset="speech_commands", dataset_url=mirror.as_uri(), unknown=1.0, unheard_words=unheard_words)
    origin = "dataset" if unheard_words else "computed"  # with 0 training hears them all
    assert source()["unheard"] == {"unheard_validation": origin, "unheard_test": origin}


def test_a_test_data_set_with_other_words_needs_computed_voices_for_validation_alone(stage, tmp_path, capsys):
    make_folder(tmp_path / "mine", NAMES)
    make_tar(tmp_path / "theirs.tar", TESTED)
    stage(dataset="mine", test_dataset="theirs.tar")
    assert source()["unheard"] == {"unheard_validation": "computed", "unheard_test": "test_dataset"}
    assert other_speech_lines(capsys) == [
        "other speech of the validation stream is computed (English words): the data set has no other words"
    ]


def test_for_computed_words_the_voices_of_other_words_are_like_theirs(stage, monkeypatch, capsys):
    monkeypatch.setattr(synthetic, "write_corpus", lambda target, *_: make_tar(target, NAMES))
    stage(dataset="synthetic", synthetic_variety=0.3, language="de")
    assert [synthetic.Voices(24, 0.3, 0.0, 1, "en", 1.0)] == OTHER_SPEAKERS
    assert other_speech_lines(capsys) == [
        "other speech of the streams is computed (English words): the data set is computed, too, by other voices"
    ]


def test_without_espeak_it_is_said_what_to_do_for_other_speech(stage, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise UserError("dataset: a data set with few other words needs eSpeak NG")

    monkeypatch.setattr(synthetic, "write_other_speech", refuse)
    make_folder(tmp_path / "mine", NAMES)
    with pytest.raises(UserError, match="few other words needs eSpeak NG"):
        stage(dataset="mine")
    assert not Path("data/raw").exists()


# Computed voices that speak beside people


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """What computed voices were asked to say; they say nothing, and are quick. There are few other words."""
    calls: list[tuple] = []

    def write_beside(target: Path, words_of: dict, voices: synthetic.Voices, others: synthetic.Others) -> list[Clip]:
        calls.append((words_of, voices, others))
        target.write_bytes(bytes(10240))
        return [Clip(f"_computed_/{w}/{s}", w, s, s) for s, words in words_of.items() for w in words]

    monkeypatch.setattr(synthetic, "write_beside", write_beside)
    monkeypatch.setattr(beside, "everyday_words", lambda _: ["know", "low"])
    return calls


COMPUTED = OTHER_SPEECH | {"archive": "computed.tar", "licence": licences.ESPEAK_AND_HIBARI}


def test_computed_voices_speak_beside_recordings(stage, tmp_path, asked, capsys):
    make_folder(tmp_path / "mine", NAMES)
    changes = {"synthetic_variety": 1.0, "neural_share": 0.3, "language": "en-gb", "clip_seconds": 1.5}
    stage(dataset="mine", computed_voices=70, unknown=1.5, **changes)
    [(words_of, voices, others)] = asked
    assert words_of == {"train": WORDS, "validation": [], "test": []}
    assert voices == synthetic.Voices(70, 1.0, 0.3, 1, "en-gb", 1.5)
    assert (others.near, others.each) == (["low"], 2)  # "know" is "no"
    assert source()["computed"] == COMPUTED
    assert [clip.word for clip in read_clips(Path("data/raw/computed.csv"))] == WORDS
    assert metrics() | {"bytes": 0} == {
        "clips": 8,
        "words": 2,
        "speakers": 2,
        "bytes": 0,
        "synthetic": 0,
        "left_out": 0,
        "computed": 2,
    }
    assert source()["words"] == {"no": 4, "yes": 4}  # recordings are counted, and no computed clips
    lines = capsys.readouterr().out.splitlines()
    assert "70 computed voices say 2 words (no, yes) for training" in lines
    stage(dataset="mine")
    assert (source()["computed"], len(asked)) == (None, 1)
    assert "computed" not in metrics()


def test_with_computed_voices_words_need_no_recordings(stage, tmp_path, asked, capsys):
    make_folder(tmp_path / "mine", NAMES)
    stage(dataset="mine", words=[*WORDS, "kettle"], computed_voices=20)
    assert asked[0][0] == {"train": [*WORDS, "kettle"], "validation": ["kettle"], "test": ["kettle"]}
    assert "test has no recordings of 'kettle': 1 other computed voices say them" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^words: the data set has no clip of kettle; it has no, yes"):
        stage(dataset="mine", words=[*WORDS, "kettle"])
    with pytest.raises(UserError, match=r"^words: the data set has no clip of kettle, spoon; it has no, yes"):
        stage(dataset="mine", words=["kettle", "spoon"], computed_voices=20)  # this is no data set of these words


def test_a_test_data_set_must_have_the_recorded_words_alone(stage, tmp_path, asked):
    make_folder(tmp_path / "mine", NAMES)
    make_tar(tmp_path / "theirs.tar", [name for name in NAMES if name.startswith("no")])
    with pytest.raises(UserError, match=r"^test_dataset: words: the data set has no clip of yes; it has no$"):
        stage(dataset="mine", words=[*WORDS, "kettle"], computed_voices=20, test_dataset="theirs.tar")
    make_tar(tmp_path / "theirs.tar", [f"{name}.wav" for name in NAMES])
    stage(dataset="mine", words=[*WORDS, "kettle"], computed_voices=20, test_dataset="theirs.tar")
    assert asked[-1][0]["test"] == ["kettle"]


def test_without_espeak_it_is_said_what_to_do_for_computed_voices(stage, tmp_path, monkeypatch):
    make_folder(tmp_path / "mine", NAMES)

    def refuse(_path: str) -> None:
        raise OSError("wrong architecture")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(UserError, match=r"^computed_voices needs eSpeak NG, .*\(wrong architecture\); set it to 0$"):
        stage(dataset="mine", computed_voices=20)
    assert not Path("data/raw").exists()
