"""Which model is champion, and what is registered with it."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SOURCE, TEST_ARCHIVE

from kws.core import paths
from kws.core.files import write_json
from kws.evaluate.answers import Answers, write_answers

pytestmark = [
    pytest.mark.usefixtures("project"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]
CLIPS = 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_spotter: Path, empty_store: Path) -> None:
    """A project whose stages have run, before a store that is empty yet."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.chdir(tmp_path)
    paths.EXPORT.mkdir(parents=True)
    shutil.copy(small_spotter, paths.SPOTTER)
    write_source("test")


def write_source(recordings: str, *, synthetic: bool = False) -> None:
    """Says which archive the validation clips are from, by its SHA-256, and whether a computer speaks the test."""
    source = replace(SOURCE, sha256=recordings, test_synthetic=synthetic)
    write_json(paths.SOURCE, source.to_json())


def answer(path: Path, wrong: int, clips: int = CLIPS) -> None:
    """Writes the answers of a network that gets so many clips wrong, the first ones."""
    labels = np.arange(clips) % 2
    predicted = np.where(np.arange(clips) < wrong, 1 - labels, labels)
    answers = Answers(
        names=np.array([f"{clip}.wav" for clip in range(clips)]),
        speakers=np.array([f"{clip // 3}" for clip in range(clips)]),
        labels=labels,
        probabilities=np.eye(2, dtype=np.float32)[predicted],
        embeddings=np.zeros((clips, 3), np.float32),
    )
    write_answers(path, answers, ["yes", "no"], synthetic=False)


def register(wrong: int, card: str = "# Card", clips: int = CLIPS, test_wrong: int = 6) -> str:
    """Registers a model whose network gets so many clips of validation and test wrong, in a run of its own."""
    import mlflow

    from kws.tracking import registry

    answer(paths.VALIDATION, wrong, clips)
    answer(paths.ANSWERS, test_wrong)
    paths.MODEL.write_text(f"a network that gets {wrong} clips wrong")
    with mlflow.start_run():
        return registry.register(card)


def change_export() -> None:
    """Changes the threshold in the exported file."""
    content = paths.SPOTTER.read_bytes()
    assert content.count(b'"threshold": 0.5') == 1
    paths.SPOTTER.write_bytes(content.replace(b'"threshold": 0.5', b'"threshold": 0.7'))


def champion() -> Any:
    import mlflow

    return mlflow.MlflowClient().get_model_version_by_alias("kws", "champion")


def test_the_first_model_is_champion_and_the_card_is_its_description() -> None:
    import mlflow

    assert register(wrong=20) == (
        "registered as kws version 1, the champion: there was none; the first network; test accuracy 90.0%, "
        "95 % interval 68.3% to 97.4%"
    )
    assert champion().version == 1
    assert champion().description == "# Card"
    assert mlflow.MlflowClient().get_registered_model("kws").description == (
        "Version 1: the first network; test accuracy 90.0%, 95 % interval 68.3% to 97.4%.\n\n# Card"
    )


def test_a_model_for_people_follows_a_champion_of_a_computers_voices_and_not_the_other_way_round() -> None:
    write_source("voices", synthetic=True)
    register(wrong=0)
    write_source("test")
    assert register(wrong=20).startswith(
        "registered as kws version 2, the champion: version 1 was tested on synthetic voices, this one on people; "
    )
    write_source("voices", synthetic=True)
    assert "champion stays version 2: its validation clips are other recordings" in register(wrong=0)


def test_of_two_who_register_at_once_the_second_is_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from kws.tracking import registry

    register(wrong=30)
    client = mlflow.MlflowClient()

    def decide(_: float) -> None:
        client.set_registered_model_alias("kws", "champion", "2")
        client.set_model_version_tag("kws", "2", registry.DECIDED, "yes")

    with monkeypatch.context() as patch:  # somebody else has made version 2, and has not compared it yet
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", lambda *_: None)
        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", lambda *_: None)
        register(wrong=0)
    monkeypatch.setattr(registry.time, "sleep", decide)
    assert "registered as kws version 3; champion stays version 2: -" in register(wrong=15)
    assert champion().version == 2


def test_a_version_whose_maker_died_is_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from kws.tracking import registry

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", lambda *_: None)
        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", lambda *_: None)
        register(wrong=30)
    waited: list[float] = []
    monkeypatch.setattr(registry.time, "sleep", waited.append)
    monkeypatch.setattr(registry, "LONGEST_TURN", 0.0)
    assert register(wrong=15).startswith("registered as kws version 2, the champion: there was none")
    assert waited == []


def test_a_version_that_is_there_already_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from kws.tracking import registry

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the server is gone")

    answer(paths.VALIDATION, wrong=20)
    answer(paths.ANSWERS, wrong=6)
    paths.MODEL.write_text("a network")
    with mlflow.start_run():
        with monkeypatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", fail)
            with pytest.raises(OSError, match="the server is gone"):
                registry.register("# Card")
        assert registry.register("# Card").startswith("registered as kws version 1, the champion: there was none; ")
        said = registry.register("# Card")
    assert said.startswith("registered as kws version 1, the champion: it was that already when MLflow failed; ")
    assert len(mlflow.MlflowClient().search_model_versions("name = 'kws'")) == 1


def test_somebody_else_may_create_the_registered_model_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.MlflowClient().create_registered_model("kws")
    monkeypatch.setattr(mlflow.MlflowClient, "search_registered_models", lambda *_: [])
    assert register(wrong=20).startswith("registered as kws version 1, the champion: there was none; ")


def test_a_champion_whose_answers_are_lost_stays_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    register(wrong=20)

    def lost(uri: str) -> str:
        raise FileNotFoundError(uri)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", lost)
    said = register(wrong=0)
    assert said.startswith("registered as kws version 2; champion stays version 1: its answers cannot be had: ")


def test_the_alias_moves_to_a_model_that_is_better_beyond_chance_and_to_no_other() -> None:
    import mlflow

    register(wrong=20)
    for wrong, points in ((20, "+0.00"), (19, "+1.67"), (40, "-33.33")):
        said = register(wrong)
        assert "; champion stays version 1: " in said
        assert f"{points} points, 95 % interval " in said
        assert said.endswith(", on the same 60 validation clips as version 1")
    assert champion().version == 1

    said = register(wrong=2, card="# Better", test_wrong=60)  # the test decides nothing
    assert said.startswith("registered as kws version 5, the champion: +30.00 points, 95 % interval +")
    assert "; 1 of 4 networks, chosen on validation clips; test accuracy 0.0%, 95 % interval 0.0% to " in said
    assert champion().version == 5  # two of the five are of one network
    described = mlflow.MlflowClient().get_registered_model("kws").description
    assert described.startswith("Version 5: 1 of 4 networks, chosen on validation clips; test accuracy 0.0%")
    assert described.endswith("\n\n# Better")
    assert mlflow.MlflowClient().get_model_version("kws", "1").description == "# Card"


def test_a_model_with_other_validation_clips_is_not_comparable() -> None:
    register(wrong=20)
    assert "champion stays version 1: the clips differ (60 and 59, 59 in common)" in register(0, clips=59)
    assert "version 3, the champion: +33.33 points" in register(wrong=0)
    write_source("other voices")
    said = register(wrong=0)
    assert said.endswith(
        "champion stays version 3: its validation clips are other recordings, so they cannot be compared"
    )
    assert champion().version == 3


def test_a_new_export_of_the_champions_network_is_champion(small_spotter: Path) -> None:
    register(wrong=20)
    register(wrong=2)
    change_export()
    assert "version 3; champion stays version 2: -30.00 points" in register(wrong=20)
    assert register(wrong=2).startswith(
        "registered as kws version 4, the champion: it is the network of version 2, exported anew; 1 of 2 networks, "
    )
    assert champion().version == 4
    assert "version 5; champion stays version 4: +0.00 points" in register(wrong=2)
    write_source("other recordings")
    shutil.copy(small_spotter, paths.SPOTTER)
    assert "champion stays version 4: its validation clips are other recordings" in register(wrong=2)


def test_a_server_gets_the_code_it_needs_and_nobodys_name() -> None:
    import mlflow

    register(wrong=20)
    folder = Path(mlflow.artifacts.download_artifacts("models:/kws@champion"))
    code = {path.relative_to(folder / "code" / "kws").parts[0] for path in (folder / "code" / "kws").rglob("*.py")}
    assert code == {"__init__.py", "audio", "core", "spotting"}
    with np.load(folder / "artifacts" / "validation_answers.npz") as arrays:
        assert set(arrays) == {"names", "speakers", "correct"}
        assert all(re.fullmatch("[0-9a-f]{16}", name) for name in arrays["names"])
        assert set(arrays["speakers"]) == {f"{number}" for number in range(20)}


def test_a_champion_from_before_choices_were_made_on_validation_stays() -> None:
    import mlflow

    register(wrong=20)
    mlflow.MlflowClient().delete_model_version_tag("kws", "1", "kws.validation_sound")
    assert register(wrong=0) == (
        "registered as kws version 2; champion stays version 1: it is of an older kws, which kept no answers to "
        "validation clips; move the alias by hand"
    )


def test_what_is_served_is_told_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    from kws.tracking import registry

    hashes = [registry.served_hash()]
    change_export()
    hashes.append(registry.served_hash())
    with monkeypatch.context() as patch:
        patch.setattr(registry, "version", lambda name: f"1 of {name}")
        hashes.append(registry.served_hash())
    shutil.copytree(registry.PACKAGE, "kws")
    monkeypatch.setattr(registry, "PACKAGE", Path("kws"))
    assert registry.served_hash() == hashes[1]
    with Path("kws/train/models.py").open("a") as file:  # is not shipped
        file.write("#")
    assert registry.served_hash() == hashes[1]
    with Path("kws/spotting/detect.py").open("a") as file:
        file.write("#")
    hashes.append(registry.served_hash())
    assert len(set(hashes)) == 4


def test_a_server_of_a_model_with_the_front_end_of_devices_gets_its_package(exported_micro, monkeypatch) -> None:
    from kws.tracking import registry

    assert {line.partition("==")[0] for line in registry._requirements()} == set(registry.REQUIRED)
    monkeypatch.setattr(paths, "SPOTTER", exported_micro / "kws.tflite")
    required = {line.partition("==")[0] for line in registry._requirements()}
    assert required == {*registry.REQUIRED, "pymicro-features"}


def test_a_champion_that_was_deposed_by_hand_is_followed_by_the_next_model() -> None:
    import mlflow

    register(wrong=0)
    mlflow.MlflowClient().delete_registered_model_alias("kws", "champion")
    assert register(wrong=20).startswith("registered as kws version 2, the champion: there was none; 1 of 2 networks")


def test_networks_that_were_cleaned_away_still_count_among_those_that_the_champion_was_chosen_from() -> None:
    import mlflow

    from kws.tracking import registry

    register(wrong=20)
    mlflow.MlflowClient().set_registered_model_tag("kws", registry.REMOVED_NETWORKS, "7")
    assert "; 1 of 9 networks, chosen on validation clips; " in register(wrong=2)


def test_a_long_card_is_cut_at_a_line_and_says_so() -> None:
    register(wrong=0, card="word 12345\n" * 500)
    *lines, empty, last = champion().description.splitlines()
    assert set(lines) == {"word 12345"}
    assert (empty, last) == ("", "The rest is in the run's artifacts.")
    assert 4900 < len(champion().description) <= 5000


def test_computed_voices_beside_people_are_other_recordings_only_where_they_speak_in_validation() -> None:
    from kws.tracking import registry

    paths.VALIDATION.parent.mkdir(exist_ok=True)
    source = replace(SOURCE, sha256="people", computed=replace(TEST_ARCHIVE, sha256="voices"))
    answer(paths.VALIDATION, wrong=2)
    assert registry._validation_sound(source) == "people"
    names = np.array(["1.wav", "_computed_/yes/computed-validation-0000_nohash_0.wav"])
    answers = Answers(names, names, np.zeros(2, int), np.ones((2, 1), np.float32), np.zeros((2, 0), np.float32))
    write_answers(paths.VALIDATION, answers, ["yes"], synthetic=False)
    assert registry._validation_sound(source) == "people+voices"
    assert registry._validation_sound(SOURCE) == SOURCE.sha256
