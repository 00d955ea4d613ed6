from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_front_end, make_spec

from kws.core.errors import UserError
from kws.records.read import read_split
from kws.records.write import RecordWriter, write_background_power
from kws.train import models, training
from kws.train.augment import Augmentation
from kws.train.litert import network_file
from kws.train.networks import NETWORKS
from kws.train.training import Epoch, Recipe

FRONT_END = make_front_end(4000, 2000, 100, 100, 128, 16, 20.0, 2000.0, 1e-7)  # 20 frames, margins of 8
SPEC = make_spec(FRONT_END, ["low", "high"], train=96, validation=16, test=16)
UNCHANGED = Augmentation(
    shift_ms=0,
    speed=0,
    frequency_warp=0,
    noise_share=0,
    noise_snr_low=10,
    noise_snr_high=20,
    gain_db=0,
    time_masks=0,
    time_mask_ms=100,
    frequency_masks=0,
    frequency_mask_bins=2,
    mixup=0,
    spliced=0,
)
PLAIN = Recipe(
    epochs=3,
    batch_size=32,
    learning_rate=1e-3,
    schedule="constant",
    warmup_epochs=0,
    weight_decay=0,
    label_smoothing=0,
    weight_averaging=0,
    patience=3,
    seed=1,
    augmentation=UNCHANGED,
)
RICH = replace(
    PLAIN,
    epochs=2,
    learning_rate=0.01,
    schedule="cosine",
    warmup_epochs=1,
    weight_decay=0.01,
    label_smoothing=0.1,
    weight_averaging=0.6,
    augmentation=Augmentation(100, 0.1, 0.1, 0.8, 0, 20, 6, 1, 100, 1, 3, 0.2, 0.0),
)
STOPPING = replace(PLAIN, epochs=30, learning_rate=0.05, patience=2)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Two words that differ in which half of the Mel bins is loud."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    with RecordWriter(folder, SPEC.clips) as records:
        for split, clips in SPEC.clips.items():
            for index in range(clips):
                log_mel = rng.normal(scale=2.0, size=(36, 16)).astype(np.float32) - 5
                log_mel[:, 8 * (index % 2) : 8 * (index % 2) + 8] += 0.25
                records.write(split, f"{split}{index}", "voice", index % 2, np.exp(log_mel))
    noise = np.exp(rng.normal(size=(60, 16)) - 5).astype(np.float32)
    write_background_power(folder, [(split, "noise", noise) for split in SPEC.clips])
    return folder


def tiny() -> keras.Model:
    """A network with all that a training must keep: batch normalisation and both kinds of dropout."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20, 16, 1), name="log_mel"),
            layers.Normalization(axis=-2, name="normalization"),
            layers.SpatialDropout2D(0.1, name="dropout_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(8, activation="relu", name="embedding"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.2, name="dropout_2"),
            layers.Dense(2, name="logits"),
        ],
        name="tiny",
    )


def train(features, checkpoint, recipe=RICH, kill_after: int | None = None):
    training.make_deterministic(recipe.seed, threads=2)
    seen = []

    def on_epoch(row: Epoch) -> None:
        seen.append(row["epoch"])
        if row["epoch"] == kill_after:
            raise KilledError

    model, history = training.train_model(
        tiny(), features, SPEC, recipe=recipe, checkpoint=checkpoint, on_epoch=on_epoch
    )
    return model, history, seen


@pytest.fixture(scope="module")
def undisturbed(features, tmp_path_factory):
    """A training with all there is: batch normalisation, dropout, augmentation, averaging, a changing rate."""
    return train(features, tmp_path_factory.mktemp("undisturbed") / "checkpoint")


@pytest.fixture(scope="module")
def stopped(features, tmp_path_factory):
    """A training at a constant rate that ends by itself."""
    return train(features, tmp_path_factory.mktemp("stopped") / "checkpoint", STOPPING)


def validation_loss(model, features) -> float:
    batch = next(read_split(features, "validation", SPEC, 16).as_numpy_iterator())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(batch["label"], model.predict_on_batch(batch["log_mel"])))


def same_bytes(a, b, folder) -> bool:
    models.save_model(a, folder / "a.keras", SPEC)
    models.save_model(b, folder / "b.keras", SPEC)
    same = (folder / "a.keras").read_bytes() == (folder / "b.keras").read_bytes()
    assert (network_file(a) == network_file(b)) == same
    return same


def test_the_recipe_is_what_the_parameters_say(make_params):
    numbers = asdict(RICH.augmentation)
    floats = {name: float(numbers[name]) for name in numbers if not name.endswith(("masks", "bins"))}
    changes = asdict(replace(RICH, epochs=7)) | numbers | floats
    del changes["augmentation"]
    assert Recipe.from_params(make_params(**changes)) == replace(RICH, epochs=7)


def test_it_learns_what_is_easy_and_stops_when_the_validation_loss_no_longer_falls(stopped):
    _, history, seen = stopped
    losses = [row["validation_loss"] for row in history]
    best = 1 + int(np.argmin(losses))
    assert seen == [row["epoch"] for row in history] == list(range(1, best + 3))
    assert len(history) < 30
    assert training.best_epoch(history, "constant") == history[best - 1]
    assert history[best - 1]["validation_accuracy"] > 0.7


def test_a_cosine_runs_to_its_end_and_its_last_epoch_is_kept():
    history = [{"epoch": number, "validation_loss": float(number)} for number in range(1, 6)]
    impatient = replace(PLAIN, epochs=6, patience=1)
    assert training.best_epoch(history, "constant") == history[0]
    assert training.is_finished(history[:2], impatient)
    cosine = replace(impatient, schedule="cosine")
    assert training.best_epoch(history, "cosine") == history[-1]
    assert not training.is_finished(history, cosine)
    assert training.is_finished([*history, history[0]], cosine)


@pytest.mark.parametrize("kind", ["undisturbed", "stopped"])
def test_the_model_has_the_weights_of_its_best_epoch_before_and_after_it_is_saved(kind, features, tmp_path, request):
    model, history, _ = request.getfixturevalue(kind)
    best = history[-1] if kind == "undisturbed" else min(history, key=lambda row: row["validation_loss"])
    assert (best is history[-1]) == (kind == "undisturbed")
    models.save_model(model, tmp_path / "kws.keras", SPEC)
    for one in (model, models.load_model(tmp_path / "kws.keras")[0]):
        assert validation_loss(one, features) == pytest.approx(best["validation_loss"], abs=1e-5)


def test_another_seed_gives_another_training(undisturbed, features, tmp_path):
    other, history, _ = train(features, tmp_path / "other", replace(RICH, seed=2))
    assert history != undisturbed[1]
    assert not same_bytes(undisturbed[0], other, tmp_path)


@pytest.mark.parametrize("kill_after", [1, 2])
def test_a_killed_training_goes_on_from_its_last_epoch_and_ends_with_the_same_bytes(
    undisturbed, features, tmp_path, kill_after
):
    with pytest.raises(KilledError):
        train(features, tmp_path / "checkpoint", kill_after=kill_after)
    assert training.interrupted_training(tmp_path / "checkpoint")
    resumed, history, seen = train(features, tmp_path / "checkpoint")
    assert seen == list(range(kill_after + 1, 3))
    assert history == undisturbed[1]
    assert same_bytes(undisturbed[0], resumed, tmp_path)


def test_a_kill_after_the_best_epoch_and_while_an_older_one_is_removed_does_no_harm(stopped, features, tmp_path):
    last = len(stopped[1]) - 1
    with pytest.raises(KilledError):
        train(features, tmp_path / "checkpoint", STOPPING, kill_after=last)
    (tmp_path / "checkpoint" / f"{last - 1:04d}").mkdir()
    (tmp_path / "checkpoint" / f"{last - 1:04d}" / "history.json").write_text("[]")
    resumed, history, seen = train(features, tmp_path / "checkpoint", STOPPING)
    assert seen == [last + 1]
    assert history == stopped[1]
    assert same_bytes(stopped[0], resumed, tmp_path)


def test_a_loss_that_is_no_number_ends_training_in_one_line(features, tmp_path):
    with pytest.raises(UserError, match="epoch 1: the validation loss is nan; lower learning_rate"):
        train(features, tmp_path / "checkpoint", replace(PLAIN, learning_rate=float("nan")))
    assert training.interrupted_training(tmp_path / "checkpoint") is None


def test_the_normalization_is_that_of_the_training_clips_without_augmentation(undisturbed, features):
    normalization = undisturbed[0].get_layer("normalization")
    [batch] = read_split(features, "train", SPEC, 96).as_numpy_iterator()
    np.testing.assert_allclose(np.ravel(normalization.mean), batch["log_mel"].mean(axis=(0, 1, 3)), atol=1e-4)
    np.testing.assert_allclose(np.ravel(normalization.variance), batch["log_mel"].var(axis=(0, 1, 3)), rtol=1e-3)


def batches(
    features, recipe: Recipe, epoch: int, spec=SPEC, unknown: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    background = training.read_background_power(features, "train")
    augmenter = training.Augmenter(recipe.augmentation, FRONT_END, background, unknown)
    return list(training.smoothed_clips(features, spec, recipe, epoch, augmenter).as_numpy_iterator())


def clips(features, recipe: Recipe, epoch: int) -> set[bytes]:
    return {clip.tobytes() for log_mel, _ in batches(features, recipe, epoch) for clip in log_mel}


def test_each_epoch_hears_other_clips_that_follow_from_the_seed(features):
    assert clips(features, RICH, 1) == clips(features, RICH, 1)
    others = clips(features, RICH, 2), clips(features, replace(RICH, seed=2), 1)
    assert len(clips(features, RICH, 1).union(*others)) == 3 * 96
    assert len(clips(features, PLAIN, 1) | clips(features, PLAIN, 2)) == 96


def test_no_two_batches_nor_epochs_are_augmented_alike(tmp_path):
    spec = make_spec(FRONT_END, ["low", "high"], train=12)
    with RecordWriter(tmp_path, spec.clips) as records:
        for number in range(12):
            records.write("train", f"{number}", "voice", 0, np.ones((36, 16), np.float32))
    write_background_power(tmp_path, [])
    recipe = replace(PLAIN, batch_size=2, augmentation=replace(UNCHANGED, gain_db=20))
    epochs = [batches(tmp_path, recipe, epoch, spec) for epoch in (1, 2)]
    levels = {level for epoch in epochs for log_mel, _ in epoch for level in log_mel[:, 0, 0, 0].tolist()}
    assert len(levels) == 2 * 12


@pytest.mark.parametrize(("smoothing", "low", "high"), [(0, 0, 1), (0.1, 0.05, 0.95)])
def test_label_smoothing_spreads_its_share_over_all_classes(features, smoothing, low, high):
    labels = np.concatenate([labels for _, labels in batches(features, replace(PLAIN, label_smoothing=smoothing), 1)])
    assert labels.shape == (96, 2)
    np.testing.assert_allclose(np.sort(labels, axis=1), [[low, high]] * 96, atol=1e-6)
    assert labels[:, 0].sum() == pytest.approx(48)


def test_label_smoothing_is_of_spliced_and_mixed_labels_too(features):
    spec = replace(SPEC, classes=["low", "high", "_unknown_"])
    recipe = replace(PLAIN, label_smoothing=0.3, augmentation=replace(UNCHANGED, spliced=1.0))
    labels = np.concatenate([labels for _, labels in batches(features, recipe, 1, spec, unknown=2)])
    unknown = labels.argmax(axis=1) == 2
    assert 0.3 < unknown.mean() < 0.7  # those that come after another word
    np.testing.assert_allclose(labels[unknown], [[0.1, 0.1, 0.8]] * unknown.sum(), atol=1e-6)
    np.testing.assert_allclose(np.sort(labels[~unknown], axis=1), [[0.1, 0.1, 0.8]] * (~unknown).sum(), atol=1e-6)
    recipe = replace(recipe, augmentation=replace(UNCHANGED, mixup=1.0))
    labels = np.concatenate([labels for _, labels in batches(features, recipe, 1, spec)])
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(labels.min(axis=1), 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "unknown"), [(["low", "high"], None), (["low", "high", "_unknown_", "_silence_"], 2)]
)
def test_the_augmentation_knows_which_class_is_for_unknown_words(features, tmp_path, monkeypatch, words, unknown):
    told = []

    def augmenter(what, front_end, background, unknown):
        told.append((what, front_end, len(background), unknown))
        raise KilledError

    monkeypatch.setattr(training, "Augmenter", augmenter)
    spec = replace(SPEC, classes=words)
    with pytest.raises(KilledError):
        training.train_model(tiny(), features, spec, recipe=RICH, checkpoint=tmp_path, on_epoch=lambda _: None)
    assert told == [(RICH.augmentation, FRONT_END, 1, unknown)]


def test_validation_is_of_the_clips_and_labels_as_they_are(undisturbed, features):
    for _ in range(2):
        [(log_mel, labels)] = training.unchanged_clips(features, "validation", SPEC, RICH).as_numpy_iterator()
        [batch] = read_split(features, "validation", SPEC, 16).as_numpy_iterator()
        np.testing.assert_array_equal(log_mel, batch["log_mel"])
        np.testing.assert_array_equal(labels, np.eye(2)[batch["label"]])
    answers = undisturbed[0].predict_on_batch(log_mel).argmax(axis=1)
    assert (answers == batch["label"]).mean() == pytest.approx(undisturbed[1][-1]["validation_accuracy"], abs=1e-6)


def test_the_average_of_the_weights_is_that_of_numpy():
    keras.utils.set_random_seed(3)
    model, momentum = tiny(), 0.5
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(48, 20, 16, 1)).astype(np.float32), np.eye(2)[rng.integers(2, size=48)]
    model.get_layer("normalization").adapt(inputs)
    model.compile(optimizer=keras.optimizers.AdamW(0.05), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    averaged = [weight for layer in model.layers if layer.name != "normalization" for weight in layer.weights]
    assert len(averaged) == 8  # kernels, biases, gamma, beta, moving mean and variance
    normalization = [weight.numpy() for weight in model.get_layer("normalization").weights]
    seen = [[weight.numpy() for weight in averaged]]

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002 (Keras's)
            seen.append([weight.numpy() for weight in averaged])

    average = training.WeightAverage(model, momentum)
    model.fit(inputs, labels, batch_size=4, verbose=0, callbacks=[average, Record()])
    wanted = seen[0]
    assert len(seen) == 1 + 12
    for step, weights in enumerate(seen[1:], start=1):
        share = min(momentum, (1 + step) / (10 + step))  # the cap from the eighth step on
        wanted = [share * before + (1 - share) * now for before, now in zip(wanted, weights, strict=True)]

    with average.in_place():
        for weight, value, last in zip(averaged, wanted, seen[-1], strict=True):
            np.testing.assert_allclose(weight.numpy(), value, rtol=1e-4, atol=1e-6)
            assert not np.allclose(weight.numpy(), last, atol=1e-4)
        for weight, value in zip(model.get_layer("normalization").weights, normalization, strict=True):
            np.testing.assert_array_equal(weight.numpy(), value)
    for weight, last in zip(averaged, seen[-1], strict=True):
        np.testing.assert_array_equal(weight.numpy(), last)


def test_averaging_changes_what_is_validated_and_kept_but_not_how_training_goes(undisturbed, features, tmp_path):
    _, without, _ = train(features, tmp_path / "checkpoint", replace(RICH, weight_averaging=0))
    for row, averaged in zip(without, undisturbed[1], strict=True):
        assert row["train_loss"] == averaged["train_loss"]
        assert row["validation_loss"] != averaged["validation_loss"]


def rates(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of each step, and of the one that would follow."""
    optimizer = training.optimizer_of(recipe, steps)
    found = []
    for step in range(recipe.epochs * steps + 1):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_the_cosine_rises_over_the_warm_up_and_ends_at_0(warmup):
    recipe = replace(PLAIN, epochs=4, schedule="cosine", warmup_epochs=warmup, learning_rate=0.02)
    rising = [0.02 * step / (5 * warmup) for step in range(5 * warmup)]
    falling = 0.01 * (1 + np.cos(np.pi * np.linspace(0, 1, 5 * (4 - warmup) + 1)))
    np.testing.assert_allclose(rates(recipe, 5), [*rising, *falling], atol=1e-8)
    assert rates(recipe, 5)[-1] == pytest.approx(0, abs=1e-9)


def test_a_cosine_may_be_all_warm_up():
    recipe = replace(PLAIN, epochs=2, schedule="cosine", warmup_epochs=2, learning_rate=0.02)
    np.testing.assert_allclose(rates(recipe, 4)[:8], 0.02 * np.arange(8) / 8, rtol=1e-5)


def test_a_constant_rate_is_constant():
    assert rates(replace(PLAIN, learning_rate=0.02), 4) == pytest.approx([0.02] * 13)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_weight_decay_is_of_kernels_alone(name):
    optimizer = training.optimizer_of(replace(PLAIN, learning_rate=0.1, weight_decay=0.5), 1)
    variables = NETWORKS[name](98, 40, 4, 0.5).trainable_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable.value))
    optimizer.apply_gradients([(tf.zeros_like(variable.value), variable) for variable in variables])
    decayed = {variable.path.split("/")[-1] for variable in variables if np.allclose(variable.numpy(), 0.95)}
    kept = {variable.path.split("/")[-1] for variable in variables if np.all(variable.numpy() == 1)}
    assert decayed | kept == {variable.path.split("/")[-1] for variable in variables}
    assert "kernel" in decayed
    assert all("kernel" in variable for variable in decayed)
    assert kept <= {"bias", "gamma", "beta"}
    assert kept


def test_without_weight_decay_it_is_adam():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(5, 3, 2))
    ended = []
    for optimizer in (training.optimizer_of(PLAIN, 1), keras.optimizers.Adam(1e-3)):
        variable = keras.Variable(start, name="kernel")
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        ended.append(variable.numpy())
    np.testing.assert_array_equal(*ended)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_all_dropout_of_a_network_is_drawn_from_the_seed_and_the_epoch(name):
    network = NETWORKS[name](98, 40, 4, 0.5)
    kinds = (keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D)
    states = [layer.seed_generator.state for layer in network.layers if isinstance(layer, kinds)]
    assert bool(states) == (not name.startswith("matchboxnet"))
    drawn = {}
    for key in ((1, 1), (1, 2), (2, 1), (1, 1)):
        for state in states:
            state.assign([7, 7])
        training.seed_dropout(network, *key)
        again = [tuple(state.numpy()) for state in states]
        assert drawn.setdefault(key, again) == again
    everything = [state for found in drawn.values() for state in found]
    assert len(set(everything)) == len(everything) == 3 * len(states)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the package with three modules in it."""
    for name in ("train/training.py", "train/networks/cnn.py", "audio/frontend.py"):
        (tmp_path / "kws" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kws" / name).write_text(CODE)
    monkeypatch.setattr(training, "__file__", str(tmp_path / "kws" / "train" / "training.py"))
    return tmp_path / "kws"


CODE = '''"""About the module."""

RATE = 1  # a comment


class Network:
    """About the class."""

    def answer(self):
        """About the function."""
        return "a text"
'''


def test_a_training_is_named_by_all_it_depends_on(features, code, monkeypatch):
    def name(network: str = "cnn 1.0", recipe: Recipe = RICH) -> str:
        return training.fingerprint(features, network, recipe)

    names = [name()]
    assert names == [name(recipe=replace(RICH))]
    names.append(name("cnn 2.0"))
    changed = dict.fromkeys(asdict(RICH), 0.5) | {"schedule": "constant"}
    changed["augmentation"] = replace(RICH.augmentation, mixup=0.3)
    names += [name(recipe=replace(RICH, **{field: new})) for field, new in changed.items()]
    (features / "new").touch()
    names.append(name())
    (features / "new").unlink()
    for file in ("train/training.py", "train/networks/cnn.py", "audio/frontend.py"):
        (code / file).write_text(CODE.replace("RATE = 1", "RATE = 2"))
        names.append(name())
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 7)
    names.append(name())
    assert len(set(names)) == len(names) == 2 + len(asdict(RICH)) + 5


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("a comment", "another comment", True),
        ("About the module", "More about the module", True),
        ("About the class", "More about the class", True),
        ("About the function", "More about the function", True),
        ('    """About the class."""\n\n', "", True),
        ("a text", "another text", False),
        ("RATE = 1", "RATE = 2", False),
    ],
)
def test_a_comment_or_a_docstring_keeps_the_checkpoint(features, code, old, new, kept):
    before = training.fingerprint(features, "cnn 1.0", RICH)
    (code / "train" / "training.py").write_text(CODE.replace(old, new))
    assert (training.fingerprint(features, "cnn 1.0", RICH) == before) == kept


def test_code_that_training_does_not_run_keeps_the_checkpoint(features, code):
    before = training.fingerprint(features, "cnn 1.0", RICH)
    (code / "plots").mkdir()
    (code / "plots" / "figures.py").write_text("COLOUR = 1\n")
    assert training.fingerprint(features, "cnn 1.0", RICH) == before


def test_a_gpu_computes_in_float32_repeats_itself_and_takes_memory_as_it_needs_it(monkeypatch):
    asked = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"a {kind}"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: asked.append((gpu, on)))
    for name in ("enable_tensor_float_32_execution", "enable_op_determinism"):
        monkeypatch.setattr(tf.config.experimental, name, lambda *values, name=name: asked.append((name, *values)))
    training.make_deterministic(seed=1, threads=2)
    assert asked == [("a GPU", True), ("enable_tensor_float_32_execution", False), ("enable_op_determinism",)]


def test_the_number_of_threads_is_the_one_asked_for(monkeypatch):
    asked = {}
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, name, lambda threads, kind=kind: asked.update({kind: threads}))
    training.make_deterministic(seed=1, threads=5)
    assert asked == {"intra": 5, "inter": 5}
