"""Weights to begin with: the format of embeddings, what is refused, and what training makes of them."""

import json
import runpy
import shutil
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from checkout import ran
from conftest import ROOT, make_front_end, make_spec

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of
from kws.train import models, networks, pretrained

FRONT_END = make_front_end(16_000, 16_000, 480, 320, 512, 40, 20.0, 7600.0, 1e-6)
SPEC = make_spec(FRONT_END, ["yes", "no", "up"])
ABOUT = {"model": "matchboxnet", "width": 0.5, "causal": False, "licence": "CC BY 4.0, somebody"}


def network(classes: int = 3, width: float = 0.5, seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = networks.NETWORKS["matchboxnet"](FRONT_END.frames, FRONT_END.mel_bins, classes, width)
    rng = np.random.default_rng(seed)
    model.get_layer("normalization").adapt(rng.normal(-5, 3, size=(8, FRONT_END.frames, FRONT_END.mel_bins, 1)))
    return model


def embedding_of(model: keras.Model, log_mel: np.ndarray) -> np.ndarray:
    return keras.Model(model.inputs, model.get_layer("embedding").output).predict_on_batch(log_mel)


@pytest.fixture
def params(make_params):
    return make_params(
        frame_length=480, hop_length=320, fft_length=512, mel_bins=40, log_offset=1e-6, model="matchboxnet", width=0.5
    )


@pytest.fixture
def embedding(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    pretrained.write_embedding(network(7), SPEC, ABOUT, tmp_path / "mine.npz")
    return tmp_path / "mine.npz"


def test_an_embedding_gives_its_weights_to_a_network_of_other_words(embedding, params):
    start = pretrained.read_embedding("mine.npz", SPEC, params)
    assert (start.name, start.digest, start.licence) == ("mine.npz", sha256_of(embedding), "CC BY 4.0, somebody")
    old, new = network(7), networks.NETWORKS["matchboxnet"](FRONT_END.frames, FRONT_END.mel_bins, 3, 0.5)
    logits = new.get_layer("logits").get_weights()
    start.give_to(new)
    log_mel = np.random.default_rng(2).normal(-5, 3, size=(4, FRONT_END.frames, FRONT_END.mel_bins, 1))
    np.testing.assert_allclose(embedding_of(new, log_mel), embedding_of(old, log_mel), rtol=0.02, atol=2e-3)
    for before, after in zip(logits, new.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for layer in new.layers:
        if layer.name != "logits":
            for weight in layer.get_weights():
                assert weight.dtype != np.float16


def test_kernels_have_16_bits_and_the_same_network_gives_the_same_bytes(embedding, tmp_path):
    with np.load(embedding) as arrays:
        kinds = {name: (array.dtype, array.ndim) for name, array in arrays.items() if name != "about"}
    assert not any(name.startswith("logits") for name in kinds)
    assert {dtype for dtype, axes in kinds.values() if axes > 1} == {np.dtype(np.float16)}
    assert np.float16 not in {dtype for dtype, axes in kinds.values() if axes < 2}
    pretrained.write_embedding(network(7), SPEC, ABOUT, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == embedding.read_bytes()
    assert pretrained.about_embedding(embedding)["front_end"] == FRONT_END.to_json()


def test_a_network_that_train_wrote_gives_its_weights_too_and_exactly(tmp_path, monkeypatch, params):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    old = network(7)
    models.save_model(old, tmp_path / "old.keras", SPEC, {"model": "matchboxnet", "width": 0.5, "causal": False})
    start = pretrained.read_embedding(str(tmp_path / "old.keras"), SPEC, params)
    assert start.licence == "not known"
    new = networks.NETWORKS["matchboxnet"](FRONT_END.frames, FRONT_END.mel_bins, 3, 0.5)
    start.give_to(new)
    log_mel = np.random.default_rng(2).normal(-5, 3, size=(4, FRONT_END.frames, FRONT_END.mel_bins, 1))
    np.testing.assert_array_equal(embedding_of(new, log_mel), embedding_of(old, log_mel))


@pytest.mark.parametrize("file", ["mine.npz", "mine.keras"])
def test_what_does_not_fit_is_refused_in_one_line_with_the_values_to_set(embedding, make_params, file):
    models.save_model(network(7), embedding.with_suffix(".keras"), SPEC, ABOUT)
    fine = {"frame_length": 480, "hop_length": 320, "fft_length": 512, "log_offset": 1e-6}
    here = make_params(**fine, mel_bins=64, clip_seconds=1.5, model="matchboxnet", width=1.25, causal=True)
    spec = replace(SPEC, front_end=replace(FRONT_END, mel_bins=64, clip_samples=24_000))
    with pytest.raises(UserError) as refused:
        pretrained.read_embedding(file, spec, here)
    assert str(refused.value) == (
        f"pretrained: {file} is a network with clip_seconds 1 (not 1.5), mel_bins 40 (not 64), width 0.5 (not 1.25), "
        "causal false (not true); set clip_seconds=1 mel_bins=40 width=0.5 causal=false, or leave pretrained empty"
    )


def test_a_network_of_an_older_version_is_compared_by_the_shapes_of_its_layers(tmp_path, monkeypatch, params):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    models.save_model(network(7, width=0.25), tmp_path / "old.keras", SPEC)
    start = pretrained.read_embedding("old.keras", SPEC, params)
    with pytest.raises(
        UserError, match=r"^pretrained: old.keras is another network: layer block1_norm has weights of "
    ):
        start.give_to(network(3, width=0.5))


@pytest.mark.parametrize("name", ["text.npz", "text.keras", "zip.npz", "zip.keras", "empty.npz"])
def test_other_files_are_refused_in_one_line(tmp_path, monkeypatch, params, name):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    if name.startswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("kws.json" if name == "zip.npz" else "other.json", "{}")
    else:
        (tmp_path / name).write_text("" if name.startswith("empty") else "no network")
    with pytest.raises(UserError, match=rf"^pretrained: {name} is neither an embedding .* nor a network"):
        pretrained.read_embedding(name, SPEC, params)


def test_kws_is_the_embedding_of_this_front_end_that_differs_least(embedding, monkeypatch, params, make_params):
    folder = embedding.parent / "embeddings"
    monkeypatch.setattr(pretrained, "EMBEDDINGS", folder)
    with pytest.raises(
        UserError, match=r"kws has no embedding for front_end=log_mel causal=false, only for nothing yet"
    ):
        pretrained.read_embedding("kws", SPEC, params)
    for width in (0.25, 0.5):
        pretrained.write_embedding(network(7, width), SPEC, ABOUT | {"width": width}, folder / f"kws-{width}.npz")
    assert pretrained.read_embedding("kws", SPEC, params).name == "kws-0.5.npz"
    causal = make_params(**params.model_dump() | {"causal": True})
    with pytest.raises(UserError) as refused:
        pretrained.read_embedding("kws", SPEC, causal)
    assert str(refused.value) == (
        "pretrained: kws has no embedding for front_end=log_mel causal=true, only for front_end=log_mel causal=false; "
        "make one (make embedding), or leave pretrained empty"
    )


@pytest.fixture
def watch(tmp_path, monkeypatch, write_params):
    """Runs stage watch in an empty project, and returns what it noted of the network."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = runpy.run_path(str(ROOT / "stages" / "watch.py"))["main"]

    def watch(pretrained: str) -> object:
        write_params(pretrained=pretrained)
        run()
        return json.loads(paths.PRETRAINED.read_text())["pretrained"]

    return watch


def test_watch_notes_the_content_of_a_file_and_keeps_the_note_where_the_file_is_missing(watch, tmp_path, capsys):
    assert watch("") is None
    assert watch("kws") is None
    (tmp_path / "mine.npz").write_bytes(b"1")
    noted = watch(str(tmp_path / "mine.npz"))
    assert noted == {"name": "mine.npz", "sha256": sha256_of(tmp_path / "mine.npz")}
    (tmp_path / "mine.npz").write_bytes(b"2")
    changed = watch("mine.npz")
    assert changed["sha256"] == sha256_of(tmp_path / "mine.npz") != noted["sha256"]
    (tmp_path / "mine.npz").unlink()
    assert watch("mine.npz") == changed
    assert "mine.npz is not here" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^pretrained: other.npz does not exist \(.*\): give an embedding"):
        watch("other.npz")


def test_the_network_that_train_writes_is_refused_since_it_is_removed_before(watch):
    with pytest.raises(UserError, match=r"^pretrained: models/kws.keras is what stage train writes; copy it"):
        watch("models/kws.keras")


def test_with_few_recordings_the_pipeline_trains_the_last_layer_alone_and_again_after_a_change_of_the_file(project):
    start, trained = project.root / "start.keras", project.root / paths.MODEL
    shutil.copy(trained, start)
    project.set(pretrained="start.keras")
    printed = project.run("dvc", "repro", "export", KWS_TRACKING="off")
    assert ran(printed) == ["train", "evaluate", "export"]
    assert "training begins with the weights of start.keras; an average word has 32 recordings, fewer than " in printed
    figures = json.loads((project.root / "metrics" / "train.json").read_text())
    assert figures["pretrained"] == sha256_of(start)[:16]
    assert figures["head_strength"] > 0
    before, after = (models.load_model(path)[0] for path in (start, trained))
    for old, new in zip(before.layers, after.layers, strict=True):
        same = all(np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True))
        assert same == (old.name != "logits"), old.name
    assert json.loads(project.run("dvc", "status", "--json", "train")) == {}
    start.write_bytes(b"another network")
    code, printed = project.try_to("dvc", "repro", "train", KWS_TRACKING="off")
    assert code != 0
    assert "error: pretrained: start.keras is neither an embedding (.npz, of make embedding) nor a network" in printed
