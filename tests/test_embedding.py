"""make embedding: what an embedding says of itself, and whom it must not have heard."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import FRONT_END, RECORDINGS, ROOT, SOURCE, TEST_ARCHIVE, make_spec, needs_recordings

from kws.commands import embedding
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import csv_rows, write_csv, write_json
from kws.core.params import load_params, read_yaml
from kws.download.sources import PUBLISHED
from kws.download.voices.near_words import without_same_sounds
from kws.download.voices.other_words import UNHEARD
from kws.recordings import licences
from kws.recordings.people import speaker_split
from kws.train import models, networks, pretrained

FITTING = {
    "frame_length": 480,
    "hop_length": 320,
    "fft_length": 512,
    "mel_bins": 40,
    "log_offset": 1e-6,
    "model": "matchboxnet",
    "width": 0.25,
}


def test_it_says_what_it_has_heard_and_of_which_licence_without_places_and_dates(make_params):
    said = (("yes", "ada", "yes/ada/1.wav"), ("no", "ada", "no/ada/1.wav"), ("no", "voice", "_computed_/no/1.wav"))
    rows = [{"word": word, "speaker": who, "name": name} for word, who, name in said]
    params = make_params(dataset="/home/ada/words.tar", width=1.5, model="matchboxnet")
    computed = replace(TEST_ARCHIVE, licence=SOURCE.licence)
    about = embedding.about(params, replace(SOURCE, dataset="words.tar", computed=computed), rows, None)
    assert (about["words"], about["clips"]) == (["no", "yes"], 3)
    assert about["people"] == [pretrained.person_digest("ada")]
    assert about["computed_clips"] == 1
    assert (about["model"], about["width"], about["causal"]) == ("matchboxnet", 1.5, False)
    assert about["licence"] == "CC BY 4.0"
    assert about["data"] == [
        {"dataset": "words.tar", "address": SOURCE.address, "sha256": "abc123", "licence": "CC BY 4.0"},
        {"dataset": "mine", "address": TEST_ARCHIVE.address, "sha256": "fed987", "licence": "CC BY 4.0"},
    ]
    assert about["parameters"]["dataset"] == "words.tar"
    assert "/home" not in json.dumps(about)


def test_its_licence_is_that_of_all_that_it_has_heard_and_of_what_it_began_with(make_params):
    computed = replace(TEST_ARCHIVE, dataset="synthetic", sha256="c0ffee", licence=licences.ESPEAK_AND_HIBARI)
    began = f"CC BY 4.0{licences._AND}somebody's own"
    about = embedding.about(make_params(), replace(SOURCE, computed=computed), [], began)
    assert about["licence"].split("; ") == ["CC BY 4.0", licences.ESPEAK_AND_HIBARI, "somebody's own"]
    assert [(data["dataset"], data["licence"]) for data in about["data"]] == [
        ("speech_commands", "CC BY 4.0"),
        ("synthetic", licences.ESPEAK_AND_HIBARI),
    ]


def test_people_of_validation_and_test_of_speech_commands_are_refused():
    names = [f"{number:08x}" for number in range(200)]
    train = [name for name in names if speaker_split(name) == "train"]
    embedding.refuse_tested([*train, "ada", "recordings/ada/1.wav"])
    tested = [name for name in names if speaker_split(name) == "test"]
    with pytest.raises(UserError, match=rf"has heard 1 people of validation or test of Speech Commands \({tested[0]}"):
        embedding.refuse_tested([*train, tested[0]])


@pytest.mark.parametrize("name", ["../kws", "", "my embedding"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(UserError, match=r"^NAME="):
        embedding._path(name)


def test_its_words_leave_out_those_on_which_embeddings_are_compared_and_those_of_the_streams():
    """Of the 35 words of Speech Commands it hears ten (Warden, 2018, arXiv:1804.03209, lists them)."""
    heard = {"bed", "cat", "down", "go", "left", "no", "right", "stop", "up", "yes"}
    rest = (  # noqa: SIM905 (reads better)
        "backward bird dog eight five follow forward four happy house learn marvin nine off on one seven sheila six "
        "three tree two visual wow zero"
    ).split()
    words = read_yaml(ROOT / "presets" / "embedding.yaml")["words"]
    assert len(heard) + len(rest) == 35
    assert heard <= set(words)
    apart = [*rest, *UNHEARD]
    assert not set(words) & {*apart, "won", "ate", "fore", "for", "to", "too", "know", "write", "wright"}
    assert without_same_sounds(words, apart, ["en-us"]) == words


@needs_recordings
def test_the_embedding_of_kws_has_heard_its_words_and_nobody_who_judges():
    """Of all people of the shared recordings, by what the file itself says; and no computed voice of doubt."""
    about = pretrained.about_embedding(pretrained.EMBEDDINGS / "kws.npz")
    names = [row["name_in_full_archive"] for row in csv_rows(RECORDINGS / "manifest.csv")]
    speakers = {name.partition("_nohash_")[0] for name in names if "_nohash_" in name}
    heard = set(about["people"])
    judging = {name for name in speakers if speaker_split(name) != "train"}
    assert len(judging) > 300
    assert not [name for name in judging if pretrained.person_digest(name) in heard]
    assert len([name for name in speakers if pretrained.person_digest(name) in heard]) == len(heard) > 500
    assert about["words"] == sorted(read_yaml(ROOT / "presets" / "embedding.yaml")["words"])
    assert about["licence"] == licences.together([PUBLISHED["speech_commands"].licence, licences.ESPEAK])
    assert about["parameters"]["neural_share"] == 0


def test_the_command_trains_the_preset_and_writes_what_the_network_has_learnt(
    tmp_path, monkeypatch, write_params, capsys
):
    monkeypatch.chdir(tmp_path)
    write_params(**FITTING)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "embedding.yaml").write_text("width: 0.25\n")
    write_json(paths.SOURCE, SOURCE.to_json())
    write_json(paths.METRICS / "train.json", {"epochs": 1})
    columns = ("name", "word", "speaker", "split", "status")
    rows = [("yes/1.wav", "yes", "ada", "train", "ok"), ("up/1.wav", "up", "bob", "validation", "ok")]
    paths.FEATURES.mkdir(parents=True)
    write_csv(paths.MANIFEST, [dict(zip(columns, row, strict=True)) for row in rows], columns)
    network = networks.NETWORKS["matchboxnet"](FRONT_END.frames, FRONT_END.mel_bins, 2, 0.25)
    models.save_model(network, paths.MODEL, make_spec())
    ran = []

    def pretend(words, *, check):  # noqa: ARG001
        ran.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(sys, "argv", ["embedding", "computed_voices=20", "kws-short"])
    embedding.main()
    run = ["dvc", "exp", "run", "-S", "width=0.25", "-S", "computed_voices=20"]
    assert ran == [[*run, "featurize"], [*run, "train"]]
    path = tmp_path / "src" / "kws" / "train" / "embeddings" / "kws-short.npz"
    about = pretrained.about_embedding(path)
    assert (about["words"], len(about["people"]), about["model"]) == (["yes"], 1, "matchboxnet")
    assert about["front_end"] == FRONT_END.to_json()
    assert f"{path.stat().st_size:,} bytes, SHA-256 " in capsys.readouterr().out
    monkeypatch.setattr(pretrained, "EMBEDDINGS", path.parent)
    start = pretrained.read_embedding("kws", make_spec(), load_params())
    start.give_to(networks.NETWORKS["matchboxnet"](FRONT_END.frames, FRONT_END.mel_bins, 3, 0.25))
