import keras
import numpy as np
import pytest

from kws import models, training
from kws.dataset import RecordWriter
from kws.errors import UserError
from kws.training import Epoch, Schedule

SPEC = {"frames": 20, "mel_bins": 16, "words": ["low", "high"], "clips": {"train": 96, "validation": 16, "test": 16}}
SCHEDULE = Schedule(epochs=3, batch_size=32, learning_rate=1e-3, patience=2, seed=1)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Two words that differ in which half of the Mel bins is loud."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    with RecordWriter(folder, SPEC["clips"]) as records:
        for split, clips in SPEC["clips"].items():
            for index in range(clips):
                log_mel = rng.normal(scale=2.0, size=(20, 16)).astype(np.float32) - 5
                log_mel[:, 8 * (index % 2) : 8 * (index % 2) + 8] += 0.25
                records.write(split, f"{split}{index}", "voice", index % 2, log_mel)
    return folder


def train(features, checkpoint, schedule=SCHEDULE, kill_after: int | None = None):
    training.make_deterministic(schedule.seed)
    seen = []

    def on_epoch(row: Epoch) -> None:
        seen.append(row["epoch"])
        if row["epoch"] == kill_after:
            raise KilledError

    model, history = training.train_model(
        models.cnn(20, 16, 2), features, SPEC, schedule=schedule, checkpoint=checkpoint, on_epoch=on_epoch
    )
    return model, history, seen


@pytest.fixture(scope="module")
def undisturbed(features, tmp_path_factory):
    return train(features, tmp_path_factory.mktemp("undisturbed") / "checkpoint")


def test_it_learns_what_is_easy(undisturbed):
    _, history, seen = undisturbed
    assert seen == [1, 2, 3]
    assert training.best_epoch(history)["validation_accuracy"] > 0.6


def validation_loss(model, features) -> float:
    batch = next(training.read_split(features, "validation", SPEC, 16).as_numpy_iterator())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(batch["label"], model.predict_on_batch(batch["log_mel"])))


def test_the_model_has_the_weights_of_its_best_epoch_before_and_after_it_is_saved(undisturbed, features, tmp_path):
    model, history, _ = undisturbed
    best = training.best_epoch(history)["validation_loss"]
    assert best > 0.01
    models.save_model(model, tmp_path / "kws.keras", {})
    assert validation_loss(models.load_model(tmp_path / "kws.keras")[0], features) == pytest.approx(best, abs=1e-5)
    assert validation_loss(model, features) == pytest.approx(best, abs=1e-5)


def same_bytes(a, b, folder) -> bool:
    models.save_model(a, folder / "a.keras", {})
    models.save_model(b, folder / "b.keras", {})
    return (folder / "a.keras").read_bytes() == (folder / "b.keras").read_bytes()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(undisturbed, features, tmp_path):
    again, history, _ = train(features, tmp_path / "checkpoint")
    assert history == undisturbed[1]
    assert same_bytes(undisturbed[0], again, tmp_path)
    other, *_ = train(features, tmp_path / "other", Schedule(3, 32, 1e-3, 2, seed=2))
    assert not same_bytes(undisturbed[0], other, tmp_path)


@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_killed_training_goes_on_from_its_last_epoch_and_ends_with_the_same_bytes(
    undisturbed, features, tmp_path, kill_after
):
    with pytest.raises(KilledError):
        train(features, tmp_path / "checkpoint", kill_after=kill_after)
    assert training.interrupted_training(tmp_path / "checkpoint")
    resumed, history, seen = train(features, tmp_path / "checkpoint")
    assert seen == list(range(kill_after + 1, 4))
    assert history == undisturbed[1]
    assert same_bytes(undisturbed[0], resumed, tmp_path)


def test_a_kill_while_an_older_epoch_is_removed_does_no_harm(undisturbed, features, tmp_path):
    with pytest.raises(KilledError):
        train(features, tmp_path / "checkpoint", kill_after=2)
    (tmp_path / "checkpoint" / "0001").mkdir()
    (tmp_path / "checkpoint" / "0001" / "history.json").write_text("[]")
    resumed, *_ = train(features, tmp_path / "checkpoint")
    assert same_bytes(undisturbed[0], resumed, tmp_path)


def test_a_loss_that_is_no_number_ends_training_in_one_line(features, tmp_path):
    with pytest.raises(UserError, match="epoch 1: the validation loss is nan; lower learning_rate"):
        train(features, tmp_path / "checkpoint", Schedule(3, 32, float("nan"), 2, seed=1))


def test_it_stops_when_the_validation_loss_no_longer_falls_and_keeps_the_best_weights(features, tmp_path):
    wild = Schedule(epochs=30, batch_size=8, learning_rate=0.01, patience=2, seed=1)
    model, history, _ = train(features, tmp_path / "checkpoint", wild)
    best = training.best_epoch(history)
    assert len(history) == best["epoch"] + 2 < 30
    assert validation_loss(model, features) == pytest.approx(best["validation_loss"], abs=1e-5)


def test_a_training_is_named_by_all_it_depends_on(features):
    name = training.fingerprint(features, "cnn", SCHEDULE)
    assert name == training.fingerprint(features, "cnn", SCHEDULE)
    assert name != training.fingerprint(features, "cnn", Schedule(3, 32, 1e-3, 2, seed=2))
    (features / "new").touch()
    assert name != training.fingerprint(features, "cnn", SCHEDULE)
    (features / "new").unlink()
