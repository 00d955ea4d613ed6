"""The last layer alone: a logistic regression on the embedding, as weights of the network."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from conftest import make_spec
from test_training import FRONT_END, PLAIN, RICH, SPEC, UNCHANGED, features, tiny  # noqa: F401 (a fixture)

from kws.core.files import write_csv
from kws.records.read import read_split
from kws.train import head
from kws.train.models import embedding_and_probabilities

NONE = head.Embedded(np.array([], str), np.array([], str), np.array([], int), np.zeros((0, 12)))


def clouds(words: int, people: int, seed: int = 0, units: int = 12) -> head.Embedded:
    """Clips around a middle for each word, with units of different size, and one that is always 0."""
    rng = np.random.default_rng(seed)
    size = np.geomspace(0.3, 3, units)
    labels, person = np.divmod(np.arange(words * people), people)
    middles = np.random.default_rng(99).normal(size=(words, units))
    embeddings = (middles[labels] + 0.3 * rng.normal(size=(len(labels), units))) * size
    embeddings[:, 3] = 0
    names = np.array([f"{number}.wav" for number in range(len(labels))])
    return head.Embedded(names, np.array([f"person{number}" for number in person]), labels, embeddings)


@pytest.mark.parametrize("words", [2, 5])
def test_the_weights_tell_new_clips_apart(words):
    weights, strength = head.fit_head(clouds(words, people=6), NONE)
    assert weights.shape == (12, words)
    assert weights.dtype == np.float32
    assert strength in head.STRENGTHS
    others = clouds(words, people=50, seed=1)
    assert ((others.embeddings @ weights).argmax(axis=1) == others.labels).mean() > 0.97


@pytest.mark.parametrize("words", [2, 4])
def test_the_weights_are_those_of_scikit_learn_on_embeddings_of_length_1(words):
    from sklearn.linear_model import LogisticRegression

    clips = clouds(words, people=4)
    weights, strength = head.fit_head(clips, NONE)
    lengths = np.linalg.norm(clips.embeddings, axis=1, keepdims=True)
    directions = clips.embeddings / lengths
    theirs = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000).fit(directions, clips.labels)
    ours = scipy.special.softmax(directions * lengths.mean() @ weights, axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(directions), atol=1e-4)


def test_a_louder_embedding_is_the_same_word_and_a_soft_one_is_less_certain():
    clips = clouds(3, people=4)
    weights, _ = head.fit_head(clips, NONE)
    answers = [scipy.special.softmax(scale * clips.embeddings @ weights, axis=1) for scale in (0.3, 1, 3)]
    np.testing.assert_array_equal(answers[0].argmax(axis=1), answers[2].argmax(axis=1))
    assert answers[0].max(axis=1).mean() < answers[1].max(axis=1).mean() < answers[2].max(axis=1).mean()


def test_where_one_person_says_a_word_the_usual_strength_is_taken():
    assert head.fit_head(clouds(3, people=1), NONE)[1] == head.USUAL_STRENGTH


def test_the_strength_is_chosen_for_people_who_were_not_heard():
    """Each person has a way of speaking that tells the words of that person: of use within a person alone."""
    rng = np.random.default_rng(5)
    labels = np.tile(np.repeat(np.arange(3), 4), 6)
    people = np.repeat(np.arange(6), 12)
    own = rng.normal(size=(6, 3, 40)) * 3
    embeddings = own[people, labels] + 0.1 * rng.normal(size=(72, 40))
    names = np.array([f"clip{number}" for number in range(72)])
    clips = head.Embedded(names, np.array([f"person{one}" for one in people]), labels, embeddings)
    alone, together = (head._strength(replace(clips, people=people)) for people in (clips.people, names))
    assert alone < together


def test_copies_do_not_count_more_than_their_clip_and_computed_voices_as_much_as_all_recordings():
    clips, copies = clouds(2, people=2), clouds(2, people=2, seed=7)
    _, weights = head.with_copies(clips, head.Embedded.joined([copies, copies, copies]))
    np.testing.assert_allclose(weights, 0.25)
    _, weights = head.with_copies(clips, NONE)
    np.testing.assert_allclose(weights, 1)
    names = np.array(["a.wav", "b.wav", *(f"_computed_/yes/{number}" for number in range(8))])
    np.testing.assert_allclose(head.clip_weights(names), [1, 1, *[0.25] * 8])
    np.testing.assert_allclose(head.clip_weights(names[2:]), 1)


@pytest.mark.parametrize("biased", [True, False])  # tc_resnet has no bias
def test_the_last_layer_learns_and_all_others_stay(features, biased):  # noqa: F811
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((20, 16, 1)),
            layers.AveragePooling2D((20, 1)),
            layers.Flatten(name="embedding"),
            layers.Dense(2, use_bias=biased, name="logits"),
        ]
    )
    before = {layer.name: layer.get_weights() for layer in model.layers}
    epoch, strength = head.train_head(model, features, SPEC, PLAIN)
    for layer in model.layers:
        same = all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), before[layer.name], strict=True))
        assert same == (layer.name != "logits")
    batch = next(read_split(features, "validation", SPEC, 16).as_numpy_iterator())
    answers = model.predict_on_batch(batch["log_mel"])
    assert epoch["validation_accuracy"] == (answers.argmax(axis=1) == batch["label"]).mean() > 0.7
    likelihood = scipy.special.log_softmax(answers, axis=1)[np.arange(16), batch["label"]]
    assert epoch["validation_loss"] == pytest.approx(-likelihood.mean(), abs=1e-4)
    assert epoch["epoch"] == 1
    assert strength in head.STRENGTHS


def test_copies_keep_name_label_and_person_and_differ_from_each_other(features, monkeypatch):  # noqa: F811
    model = embedding_and_probabilities(tiny())
    clips = head.embedded_clips(model, features, "train", SPEC)
    monkeypatch.setattr(head, "COPIES", 2)
    copies = head.embedded_copies(model, features, SPEC, RICH)
    assert sorted(copies.names) == sorted([*clips.names, *clips.names])
    label_of = dict(zip(clips.names, clips.labels, strict=True))
    assert [label_of[name] for name in copies.names] == copies.labels.tolist()
    assert set(copies.people) == {"voice"}
    first, second = np.argsort(copies.names[:96]), 96 + np.argsort(copies.names[96:])
    assert not np.allclose(copies.embeddings[first], copies.embeddings[second])
    unchanged = head.embedded_copies(model, features, SPEC, PLAIN, "validation").subset(np.arange(16))
    clips = head.embedded_clips(model, features, "validation", SPEC)
    order = np.argsort(unchanged.names)
    np.testing.assert_allclose(
        unchanged.embeddings[order], clips.embeddings[np.argsort(clips.names)], rtol=1e-4, atol=1e-5
    )


def test_names_and_people_may_have_letters_of_any_language():
    batch = {"log_mel": np.ones((2, 3)), "label": np.array([0, 1])}
    batch |= {"name": np.array(["brücke/1.wav", "是/2.wav"]), "speaker": np.array(["Jürgen", "José"])}
    batch = {name: tf.constant(values) for name, values in batch.items()}
    clips = head._embedded(lambda log_mel: (log_mel.numpy(), None), [batch])
    assert clips.names.tolist() == ["brücke/1.wav", "是/2.wav"]
    assert clips.people.tolist() == ["Jürgen", "José"]


def test_recordings_of_words_alone_are_counted(tmp_path):
    rows = [("yes/1.wav", "yes", "train", "ok")] * 3
    rows += [
        ("no/1.wav", word, split, "ok") for word, split in (("no", "train"), ("_unknown_", "train"), ("no", "test"))
    ]
    rows += [("yes/2.wav", "yes", "train", "set aside"), ("_computed_/yes/1.wav", "yes", "train", "ok")]
    columns = ("name", "class", "split", "status")
    write_csv(tmp_path / "manifest.csv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
    assert head.recordings_a_word(tmp_path / "manifest.csv", make_spec(FRONT_END, ["yes", "no", "_unknown_"])) == 2
