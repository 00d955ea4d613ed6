import zipfile

import keras
import numpy as np
import pytest
from conftest import make_spec

from kws.train import models
from kws.train.networks import NETWORKS


@pytest.fixture(scope="module")
def cnn() -> keras.Model:
    keras.utils.set_random_seed(1)
    return NETWORKS["cnn"](59, 80, 10, 1.0)


def test_a_saved_model_brings_its_words_and_front_end_and_gives_the_same_answers(cnn, tmp_path):
    spec = make_spec(train=3)
    models.save_model(cnn, tmp_path / "kws.keras", spec)
    loaded, said = models.load_model(tmp_path / "kws.keras")
    assert said == spec
    clips = np.random.default_rng(0).normal(size=(3, 59, 80, 1)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict_on_batch(clips), cnn.predict_on_batch(clips))


def test_the_same_model_gives_the_same_bytes_whenever_it_is_saved(cnn, tmp_path, monkeypatch):
    models.save_model(cnn, tmp_path / "a.keras", make_spec())
    monkeypatch.setattr("time.time", lambda: 2e9)
    models.save_model(cnn, tmp_path / "b.keras", make_spec())
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.keras") as file:
        assert {info.date_time[0] for info in file.infolist()} == {1980}


def test_plain_keras_opens_the_file_too(cnn, tmp_path):
    models.save_model(cnn, tmp_path / "kws.keras", make_spec())
    assert keras.saving.load_model(tmp_path / "kws.keras").count_params() == cnn.count_params()


def test_the_embedding_is_the_output_of_the_dense_layer(cnn):
    clips = np.random.default_rng(0).normal(size=(3, 59, 80, 1)).astype(np.float32)
    embedding, probabilities = models.embedding_and_probabilities(cnn)(clips)
    assert embedding.shape == (3, 128)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    kernel, bias = cnn.get_layer("logits").get_weights()
    np.testing.assert_allclose(embedding @ kernel + bias, cnn.predict_on_batch(clips), atol=1e-4)
