"""The server of `kws review`, and what becomes of the answers."""

import http.client
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile
from conftest import contents_of, tone

from kws.core.errors import UserError
from kws.kept.folder import Kept, KeptFolder
from kws.kept.page import _Handler, serve_review, spectrogram
from kws.kept.recordings import Made, make_recordings, report_lines
from kws.recordings.layout import understand
from kws.spotting import cli

ROW = Kept("", "2026-05-31T18:04:09", "stop", 0.93, 0.8, "0123456789abcdef", "go, stop", "yes", 0.5, 1.0)


@pytest.fixture
def folder(tmp_path) -> KeptFolder:
    """Three sounds: numbers that rise in the clip, silence around it. The second one was nearly detected."""
    kept = KeptFolder(tmp_path / "kept")
    for number, (word, fired) in enumerate([("stop", "yes"), ("go", "no"), ("stop", "yes")]):
        sound = np.zeros(3200, np.float32)
        sound[800:2400] = (number + 1) / 8 * np.linspace(0.1, 1, 1600)
        kept.add(sound, 1600, replace(ROW, word=word, fired=fired), 9)
    return kept


@pytest.fixture
def client(folder) -> Iterator[http.client.HTTPConnection]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        with closing(http.client.HTTPConnection("127.0.0.1", server.server_port)) as client:
            yield client
        server.shutdown()


def asked(client, path: str, **headers: str) -> tuple[int, bytes]:
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def post(client, body: str, path: str = "/answers", **headers: str) -> int:
    client.request("POST", path, body, {"Content-Type": "application/json"} | headers)
    answer = client.getresponse()
    answer.read()
    return answer.status


def test_the_server_gives_the_rows_and_the_sounds(client, folder):
    status, content = asked(client, "/kept.json")
    told = json.loads(content)
    assert (status, told["words"], len(told["rows"])) == (200, ["go", "stop"], 3)
    assert told["rows"][1] == vars(folder.rows()[1])
    sound = json.loads(asked(client, "/sounds/2.flac")[1])
    assert (sound["seconds"], sound["bins"], sound["frames"]) == (2, 64, 201)
    assert b"<title>kws review</title>" in asked(client, "/")[1]


def test_all_words_of_the_model_are_answers_though_none_was_kept_of_some(client, folder):
    words = ", ".join(f"word {number}" for number in range(12))
    folder.add(np.zeros(100, np.float32), 1600, replace(ROW, words=words), 9)
    assert json.loads(asked(client, "/kept.json")[1])["words"] == sorted(["go", "stop", *words.split(", ")])
    assert post(client, json.dumps({"file": "1.flac", "answer": "word 7"})) == 200
    assert folder.rows()[0].answer == "word 7"


def test_what_is_wrong_with_the_folder_is_told_in_any_script(client, folder):
    table = folder.path / "kept.csv"
    table.write_text(table.read_text().replace("1.flac", "звук.flac"), encoding="utf-8")
    status, told = asked(client, "/kept.json")
    assert status == 500
    assert "'звук.flac' is no name of a sound in this folder" in told.decode()
    client.close()
    client.request("POST", "/answers", '{"file": "2.flac", "answer": "go"}', {"Content-Type": "application/json"})
    assert "звук.flac" in client.getresponse().read().decode()


def test_a_system_that_cannot_lock_files_is_told_in_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "kws.kept.folder")
    with pytest.raises(UserError, match="need Linux or macOS"):
        importlib.import_module("kws.kept.folder")


@pytest.mark.parametrize("path", ["/sounds/9.flac", "/sounds/kept.csv", "/sounds/..%2Fkept.csv", "/kept.csv", "/x"])
def test_the_server_gives_nothing_else(client, path):
    assert asked(client, path)[0] == 404


def test_a_sound_that_was_dropped_meanwhile_is_not_found(client, folder):
    (folder.path / "1.flac").unlink()
    assert asked(client, "/sounds/1.flac")[0] == 404
    assert [row["file"] for row in json.loads(asked(client, "/kept.json")[1])["rows"]] == ["2.flac", "3.flac"]


def test_an_answer_is_written_at_once_and_can_be_taken_back(client, folder):
    for answer in ("stop", "go", "_unknown_", "_background_noise_", ""):
        assert post(client, json.dumps({"file": "2.flac", "answer": answer})) == 200
        assert [row.answer for row in folder.rows()] == ["", answer, ""]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"file": "2.flac", "answer": "left"}', 400),
        ('{"file": "2.flac", "answer": "../x"}', 400),
        ('{"file": "2.flac", "answer": ["go"]}', 400),
        ('{"file": "7.flac", "answer": "go"}', 400),
        ('{"file": "2.flac"}', 400),
        ("[]", 400),
        ("no JSON", 400),
        ("x" * 20_000, 400),
    ],
)
def test_answers_that_are_none_change_nothing(client, folder, body, status):
    before = folder.rows()
    assert post(client, body) == status
    assert folder.rows() == before


def test_pages_elsewhere_get_nothing_and_give_no_answer(client, folder):
    before = folder.rows()
    answer = json.dumps({"file": "2.flac", "answer": "go"})
    assert asked(client, "/kept.json", Host="evil.example")[0] == 403
    assert post(client, answer, Host="evil.example") == 403
    assert post(client, answer, **{"Content-Type": "text/plain"}) == 403  # which a form may send to anybody
    assert post(client, answer, "/kept.json") == 403
    assert folder.rows() == before


def test_the_picture_shows_where_a_tone_is():
    picture = spectrogram(tone(1000), 16_000)
    frames, bins = np.nonzero(picture > 230)
    assert picture.shape == (101, 64)
    assert (frames.min(), frames.max()) == (pytest.approx(33, abs=2), pytest.approx(66, abs=2))
    assert len(set(bins)) < 5
    low = np.nonzero(spectrogram(tone(300), 16_000) > 230)[1]
    assert low.max() < bins.min()
    assert spectrogram(tone(1000), 8000).max() == 255
    assert spectrogram(np.zeros(16_000, np.float32), 16_000).shape == (101, 64)


def test_review_says_where_nothing_is_kept(tmp_path, capsys):
    assert cli.main(["review", str(tmp_path)]) == 1
    assert "no kept.csv in it; kws listen --keep" in capsys.readouterr().err


def test_review_needs_a_sound_and_a_free_port(folder, client):
    with pytest.raises(UserError, match=rf"port {client.port}: Address already in use; choose another one"):
        serve_review(folder, client.port)
    for path in folder.path.glob("*.flac"):
        path.unlink()
    with pytest.raises(UserError, match="no sound in it"):
        serve_review(folder, 0)


def test_review_prints_its_address_and_counts_what_is_gone(folder):
    (folder.path / "1.flac").unlink()
    command = [sys.executable, "-m", "kws", "review", "--port", "0", str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        line = server.stdout.readline()
        server.terminate()
    assert line.startswith("http://127.0.0.1:")
    assert line.endswith("  2 sounds; 1 more are gone; Ctrl-C stops\n")


def test_answers_become_recordings_once(folder, tmp_path, capsys):
    to = tmp_path / "recordings"
    for file, answer in (("1.flac", "stop"), ("2.flac", "_unknown_"), ("3.flac", "_background_noise_")):
        folder.set_answer(file, answer)
    assert cli.main(["review", str(folder.path), "--to", str(to)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{to}: 3 recordings made: 1 of background, 1 of other words, 1 of stop",
        "other words need the class _unknown_: unknown=1 or more, as presets balanced and best have it",
        f"next: make exp PRESET=… SET='dataset={to} …', which takes these for training alone",
    ]
    made = {path.relative_to(to).as_posix() for path in to.rglob("*.flac")}
    assert made == {f"{answer}/heard-2026-05-31/1.flac" for answer in ("stop", "_unknown_", "_background_noise_")}
    sound, rate = soundfile.read(to / "stop/heard-2026-05-31/1.flac")
    assert rate == 1600
    assert sound == pytest.approx(np.linspace(0.1, 1, 1600) / 8, abs=1e-4)  # the clip, without the margins
    assert folder.rows()[0].recording == "../recordings/stop/heard-2026-05-31/1.flac"
    assert make_recordings(folder, to) == Made({}, moved=0, before=3, elsewhere={}, unanswered=0, gone=0)
    assert {path.relative_to(to).as_posix() for path in to.rglob("*.flac")} == made


def test_what_is_made_is_what_the_data_set_understands(folder, tmp_path):
    to = tmp_path / "recordings"
    for file, answer in (("1.flac", "stop"), ("2.flac", "_unknown_"), ("3.flac", "_background_noise_")):
        folder.set_answer(file, answer)
    make_recordings(folder, to)
    names = [path.relative_to(to).as_posix() for path in to.rglob("*.flac")]
    layout = understand(contents_of([*names, "stop/ann/1.wav"]), ["stop"])
    assert {(clip.word, clip.heard) for clip in layout.clips} == {
        ("stop", True),
        ("stop", False),
        ("_unknown_", True),
        ("_background_noise_", True),
    }


def test_recordings_that_are_there_keep_their_names(folder, tmp_path):
    there = tmp_path / "stop/heard-2026-05-31/7.flac"
    there.parent.mkdir(parents=True)
    there.touch()
    folder.set_answer("1.flac", "stop")
    make_recordings(folder, tmp_path)
    assert {path.name for path in there.parent.iterdir()} == {"7.flac", "8.flac"}
    assert there.read_bytes() == b""


def test_another_answer_moves_its_recording_and_none_removes_it(folder, tmp_path, monkeypatch):
    folder.set_answer("1.flac", "stop")
    folder.set_answer("3.flac", "stop")
    monkeypatch.chdir(tmp_path)
    make_recordings(KeptFolder(Path("kept")), Path())
    monkeypatch.chdir(folder.path)  # another place: the paths in the table are not from there
    folder.set_answer("1.flac", "go")
    folder.set_answer("3.flac", "")
    assert make_recordings(folder, tmp_path) == Made({"go": 1}, moved=1, before=0, elsewhere={}, unanswered=2, gone=0)
    assert [path.parent.parent.name for path in tmp_path.glob("*/heard-*/*.flac")] == ["go"]
    assert [row.recording for row in folder.rows()] == ["../go/heard-2026-05-31/1.flac", "", ""]


def test_what_is_not_made_is_counted(folder, tmp_path):
    folder.set_answer("1.flac", "stop")
    (folder.path / "1.flac").unlink()
    made = make_recordings(folder, tmp_path)
    assert made == Made({}, moved=0, before=0, elsewhere={}, unanswered=2, gone=1)
    assert report_lines(made, Path("kept"), Path("rec"))[:3] == [
        "rec: 0 recordings made",
        "1 answers are left out: their sound is no longer in kept",
        "2 sounds have no answer: kws review kept",
    ]


def test_a_sound_that_is_none_is_named_and_the_others_stay_made(folder, tmp_path):
    folder.set_answer("1.flac", "stop")
    folder.set_answer("2.flac", "stop")
    (folder.path / "2.flac").write_text("no sound")
    with pytest.raises(UserError, match=r"2\.flac: not audio"):
        make_recordings(folder, tmp_path)
    assert [bool(row.recording) for row in folder.rows()] == [True, False, False]


def test_no_number_is_used_twice_though_a_sound_was_deleted_by_hand(folder):
    (folder.path / "3.flac").unlink()
    folder.add(np.zeros(100, np.float32), 1600, ROW, 9)
    assert [row.file for row in folder.rows()] == ["1.flac", "2.flac", "3.flac", "4.flac"]
    table = folder.path / "kept.csv"
    table.write_text(table.read_text().replace("4.flac", "2.flac"))
    with pytest.raises(UserError, match=r"kept\.csv: 2\.flac has more than one row"):
        folder.rows()


def test_no_recording_has_the_name_of_one_that_was_deleted_by_hand(folder, tmp_path):
    """Else the next change of the first answer would remove the recording of the second one."""
    folder.set_answer("1.flac", "stop")
    make_recordings(folder, tmp_path)
    (tmp_path / "stop/heard-2026-05-31/1.flac").unlink()
    (folder.path / "1.flac").unlink()
    folder.set_answer("2.flac", "stop")
    make_recordings(folder, tmp_path)
    assert [row.recording.rpartition("/")[2] for row in folder.rows()] == ["1.flac", "2.flac", ""]


def test_a_recording_that_is_gone_is_made_again(folder, tmp_path):
    """Also after a kill between the row, which is written first, and the recording."""
    folder.set_answer("1.flac", "stop")
    folder.set_recording("1.flac", "../a/stop/heard-2026-05-31/1.flac")
    assert make_recordings(folder, tmp_path / "a").recordings == {"stop": 1}
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("a/*/*/*")] == [
        "a/stop/heard-2026-05-31/1.flac"
    ]
    (tmp_path / "a").rename(tmp_path / "c")
    assert make_recordings(folder, tmp_path / "b").recordings == {"stop": 1}
    assert (tmp_path / "b/stop/heard-2026-05-31/1.flac").is_file()


def test_the_row_is_written_before_the_recording(folder, tmp_path, monkeypatch):
    folder.set_answer("1.flac", "stop")
    monkeypatch.setattr(KeptFolder, "set_recording", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_recordings(folder, tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.flac"))


def test_another_data_set_gets_no_second_recording_and_a_line_says_where_it_is(folder, tmp_path):
    folder.set_answer("1.flac", "stop")
    make_recordings(folder, tmp_path / "a")
    made = make_recordings(folder, tmp_path / "b")
    assert made == Made({}, 0, before=0, elsewhere={str(tmp_path / "a"): 1}, unanswered=2, gone=0)
    assert report_lines(made, Path("kept"), tmp_path / "b")[1] == (
        f"1 answers have their recording in {tmp_path / 'a'}, and get none here"
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("1.flac,", "../1.flac,"),
        ("1.flac,", "kept.csv,"),
        ("2026-05-31T18:04:09", "../../x"),
        (",,\n", ",../x,\n"),
        (",,\n", ",_other_,\n"),
        (",,\n", ",,/etc/passwd\n"),
        (",,\n", ",,../../stop/ada/1.flac\n"),
        (",,\n", ",,../stop/heard-2026-05-31/notes.txt\n"),
        (",stop,", ",../stop,"),
        ("go, stop", "go, ../stop"),
        (",,\n", "\n"),
    ],
)
def test_a_table_that_leads_elsewhere_is_refused(folder, right, wrong):
    table = folder.path / "kept.csv"
    text = table.read_text().replace("\r\n", "\n")
    table.write_text(text.replace(right, wrong, 1))
    with pytest.raises(UserError, match="line 2 is not as kws listen --keep writes it"):
        folder.rows()


def test_a_row_stays_until_the_recording_of_its_former_answer_is_removed(folder, tmp_path):
    folder.set_answer("1.flac", "stop")
    make_recordings(folder, tmp_path)
    folder.set_answer("1.flac", "")
    folder.add(np.zeros(100, np.float32), 1600, ROW, 1)
    assert [row.file for row in folder.rows()] == ["1.flac", "4.flac"]
    make_recordings(folder, tmp_path)
    assert not list(tmp_path.glob("stop/*/*"))
