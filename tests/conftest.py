"""What several test files need: the project's parameters, and a project of its own in an empty folder."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkout import ROOT, Project
from filelock import FileLock

from kws.audio.frontend import FrontEnd
from kws.core.params import Params, load_params
from kws.core.tables import Texts
from kws.recordings.archive import Contents
from kws.recordings.source import Archive, DataSource
from kws.records.spec import FeatureSpec

RECORDINGS = ROOT.parent / "shared" / "speech_commands"

needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"needs the real recordings in {RECORDINGS}")


# The longest first, so that no process is left with one of them at the end. `finished` takes a while: the experiments,
# which begin with it too, come when it is there.
LONGEST = ("test_pipeline", "test_tracking", "test_export", "test_training", "test_projection", "test_service")
LONGEST += ("test_lock", "test_experiments", "test_dependencies")


def pytest_configure() -> None:
    """Has processes that tests start take SIGINT, which is ignored in the background of a script, and below it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the files; the tests of a file stay together, and in their order."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def _deterministic_tensorflow() -> None:
    """TensorFlow takes its number of threads only before its first use, wherever in the suite that is."""
    from kws.train import training

    training.make_deterministic(seed=1, threads=2)


@pytest.fixture(scope="module", autouse=True)
def _path_of_modules() -> Iterator[None]:
    """Gives sys.path back after each file of tests.

    MLflow puts the folder of a model, with a part of kws, first in it. Processes that later tests start would import
    that part.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", sys.path.copy())
        yield


@pytest.fixture(scope="session")
def small_spec() -> FeatureSpec:
    """A feature spec as featurize writes it: clips of 0.1 s, two words."""
    front_end = make_front_end(
        sample_rate=4000,
        clip_samples=400,
        frame_length=64,
        hop_length=32,
        fft_length=64,
        mel_bins=4,
        mel_low_hz=20.0,
        mel_high_hz=2000.0,
        log_offset=1e-7,
    )
    return make_spec(front_end, train=4)


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory, small_spec: FeatureSpec) -> list[Path]:
    """Two small networks that know two words, as files that train writes."""
    import keras

    from kws.train.models import save_model

    folder = tmp_path_factory.mktemp("networks")
    for index in range(2):
        initial = keras.initializers.RandomNormal(seed=index)
        layers = [
            keras.Input((small_spec.front_end.frames, small_spec.front_end.mel_bins, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_initializer=initial, name="embedding"),
            keras.layers.Dense(2, kernel_initializer=initial),
        ]
        save_model(keras.Sequential(layers), folder / f"{index}.keras", small_spec)
    return [folder / "0.keras", folder / "1.keras"]


@pytest.fixture(scope="session")
def small_spotter(tmp_path_factory: pytest.TempPathFactory, networks: list[Path]) -> Path:
    """The first of these networks, as the file that takes waveforms."""
    from kws.export.convert import convert_network
    from kws.records.write import RecordWriter
    from kws.train.litert import calibration_clips, network_file, network_int8_file
    from kws.train.models import load_model

    folder = tmp_path_factory.mktemp("spotter")
    network, spec = load_model(networks[0])
    frames = spec.front_end.frames + 2 * spec.front_end.margin
    power = np.random.default_rng(0).exponential(size=(spec.clips["train"], frames, spec.front_end.mel_bins))
    with RecordWriter(folder, spec.clips) as writer:
        for number, clip in enumerate(power):
            writer.write("train", f"{number}", "al", 0, clip.astype(np.float32))
    int8 = network_int8_file(network, calibration_clips(folder, spec))
    files = convert_network(network_file(network), int8, spec, {"threshold": 0.5})
    (folder / "kws.tflite").write_bytes(files["float32"])
    return folder / "kws.tflite"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables in it, to be copied: making one takes seconds."""
    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
        import mlflow

        mlflow.MlflowClient(f"sqlite:///{store}").search_experiments()
    return store


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The parameters of params.yaml, to be changed."""
    return load_params(ROOT / "params.yaml").model_dump()


@pytest.fixture
def write_params(tmp_path: Path, defaults: dict[str, Any]) -> Callable[..., Path]:
    """Writes a params.yaml into the test's folder: the defaults, with these changes."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "params.yaml"
        content = defaults | changes
        path.write_text(yaml.safe_dump(content | {"words": list(content["words"])}))
        return path

    return write


@pytest.fixture
def make_params(defaults: dict[str, Any]) -> Callable[..., Params]:
    """The defaults as checked parameters, with these changes."""
    return lambda **changes: Params.model_validate(defaults | changes)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that all processes of this run of the tests share; it is removed as tmp_path is."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(request.config, "workerinput") else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def environment(shared_folder: Path) -> dict[str, str]:
    """The environment of a user who has set nothing; what dvc keeps outside of projects goes to a scratch folder."""
    theirs = ("COVERAGE_", "DVC_", "GIT_", "KWS_", "MAKE", "MLFLOW_", "PYTEST_", "PYTHONPATH")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    people = {f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    places = {"DVC_SITE_CACHE_DIR": str(shared_folder / "dvc"), "GIT_CONFIG_GLOBAL": os.devnull}
    return ours | people | places | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def finished(shared_folder: Path, environment: dict[str, str]) -> Project:
    """A project after `dvc repro` and a commit, made once for all processes that run tests. Nothing may change it."""
    root = shared_folder / "finished"
    with FileLock(f"{root}.lock"):
        if not (done := root.with_suffix(".done")).exists():
            shutil.rmtree(root, ignore_errors=True)  # of a failed attempt
            project = Project.create(root, environment)
            project.run("dvc", "repro", **recorded(shared_folder, environment))
            project.commit()
            done.touch()
    return Project(root, environment)


def recorded(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """The variables with which `python` notes in `folder` what each stage reads: see record_stage.py."""
    program = folder / "bin" / "python"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("record_stage.py")}" "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}{os.pathsep}{environment['PATH']}", "KWS_RECORDS": str(folder)}


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change; MLflow's store is left out."""
    return finished.copy(tmp_path / "project")


SOURCE = DataSource(
    dataset="speech_commands",
    archive="a.tar.gz",
    address="https://example.org/words.tar.gz",
    bytes=5,
    sha256="abc123",
    checked=True,
    licence="CC BY 4.0",
    synthetic=False,
    speakers="file names",
    given_splits=False,
    words={},
    clips=12345,
    test=None,
    test_synthetic=False,
    computed=None,
    other_speech=None,
    unheard={"unheard_validation": "dataset", "unheard_test": "dataset"},
)
TEST_ARCHIVE = Archive(
    dataset="mine",
    archive="mine.zip",
    address="https://example.org/mine.zip",
    bytes=7,
    sha256="fed987",
    checked=False,
    licence="CC0",
)


def contents_of(
    digests: Mapping[str, str] | Iterable[str], tables: Mapping[str, str] | None = None, remarks: tuple[str, ...] = ()
) -> Contents:
    """Contents with these recordings: digests by name, or names alone; and with these CSV files."""
    recordings = digests if isinstance(digests, Mapping) else dict.fromkeys(digests, "")
    return Contents(Texts(recordings), Texts(tables), {}, remarks)


def source_of(archive: Path) -> DataSource:
    """The source of recordings that all lie in one archive."""
    return replace(SOURCE, archive=str(archive.absolute()))


EVALUATED = {"stream_threshold": 0.6, "stream_hours": 4.0} | {  # what evaluate says of a stream
    f"{name}_{figure}": value
    for name, threshold, rate, alarms, most_alarms, missed in (
        ("few_misses", 0.45, 2.0, 2.25, 4.27, 0.031),
        ("balanced", 0.6, 0.5, 0.75, 2.19, 0.082),
        ("few_false_alarms", 0.99, 0.125, 0.0, 0.922, 0.3),
    )
    for figure, value in {
        "threshold": threshold,
        "allowed_false_alarms_an_hour": rate,
        **{
            f"{split}_{figure}": value + shift
            for split, shift in (("validation", 0.0), ("test", 0.01))
            for figure, value in {
                "false_alarms_an_hour": alarms,
                "false_alarms_an_hour_low": alarms / 2,
                "false_alarms_an_hour_high": most_alarms,
                "missed": missed,
                "missed_low": missed / 2,
                "missed_high": 2 * missed,
            }.items()
        },
    }.items()
}


def make_front_end(*settings: float, **more: Any) -> FrontEnd:
    """A front end for a test: sample rate, lengths, Mel bins, edges and log offset, in the order of its fields.

    A field that is added to FrontEnd gets its value here, in one place for most tests: the one that turns it off.
    """
    return FrontEnd(*settings, **{"kind": "log_mel"} | more)


FRONT_END = make_front_end(16_000, 16_000, 480, 320, 512, 40, 20.0, 7600.0, 1e-6)
MICRO = make_front_end(16_000, 16_000, 480, 160, 512, 40, 125.0, 7500.0, 1e-6, kind="micro")


def make_spec(front_end: FrontEnd = FRONT_END, classes: Sequence[str] = ("yes", "no"), **clips: int) -> FeatureSpec:
    """A feature spec for a test: the front end, the classes, and how many clips each split has."""
    return FeatureSpec(
        front_end,
        dataset="mine",
        test_dataset="theirs",
        synthetic=True,
        test_synthetic=False,
        classes=list(classes),
        clips=clips,
    )


def tone(hertz: float, rate: int = 16_000) -> np.ndarray:
    """A third of a second in the middle of a clip of one second."""
    sound = np.zeros(rate, np.float32)
    time = np.arange(rate // 3) / rate
    sound[rate // 3 : rate // 3 + len(time)] = 0.5 * np.sin(2 * np.pi * hertz * time)
    return sound


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """A folder with the LiteRT files of a network that knows two words, a low tone and a high one, and silence."""
    import keras

    log_mel = keras.Input((FRONT_END.frames, FRONT_END.mel_bins, 1))
    middle = keras.layers.Cropping2D(((16, 16), (0, 0)))(log_mel)
    mels = keras.layers.Flatten(name="embedding")(keras.layers.AveragePooling2D((17, 1))(middle))
    logits = keras.layers.Dense(3)
    model = keras.Model(log_mel, logits(mels))
    logits.set_weights(tones_apart(silence=5))
    return export_tones(model, tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="session")
def exported_causal(tmp_path_factory) -> Path:
    """The same of a causal network with the same answers, with the files that hear step by step."""
    model = causal_network(FRONT_END, silence=5)
    return export_tones(model, tmp_path_factory.mktemp("export_causal"), causal=True)


@pytest.fixture(scope="session")
def exported_micro(tmp_path_factory) -> Path:
    """The same with the front end of devices."""
    model = causal_network(MICRO, silence=0.5)
    return export_tones(model, tmp_path_factory.mktemp("export_micro"), MICRO, causal=True)


def causal_network(front_end: FrontEnd, silence: float) -> Any:
    """Tells low tones from high ones in the middle third of a clip: convolutions as in a causal network delay it."""
    import keras

    third = front_end.frames // 3
    log_mel = keras.Input((front_end.frames, front_end.mel_bins, 1))
    mels = keras.layers.Reshape((front_end.frames, front_end.mel_bins))(log_mel)
    delay = keras.layers.Conv1D(front_end.mel_bins, third + 1, use_bias=False)
    middle = keras.layers.Cropping1D((third, 0))(delay(mels))
    logits = keras.layers.Dense(3)
    model = keras.Model(log_mel, logits(keras.layers.GlobalAveragePooling1D(name="embedding")(middle)))
    delay.set_weights([np.eye(front_end.mel_bins) * (np.arange(third + 1) == 0)[:, None, None]])
    logits.set_weights(tones_apart(silence))
    return model


def tones_apart(silence: float) -> list[np.ndarray]:
    """Weights that tell low Mel bins from high ones, and both from silence, whose logit is given."""
    low = np.where(np.arange(FRONT_END.mel_bins) < 20, 0.25, -0.25)
    return [np.stack([low, -low, np.zeros(FRONT_END.mel_bins)], axis=1), np.array([0, 0, silence])]


def export_tones(model: Any, folder: Path, front_end: FrontEnd = FRONT_END, *, causal: bool = False) -> Path:
    """Writes the LiteRT files of a network that tells tones apart; tones calibrate the 8 bits."""
    from kws.export.convert import convert_network
    from kws.export.detection import detection
    from kws.spotting.detect import Timing
    from kws.spotting.litert import KINDS
    from kws.train.litert import network_file, network_int8_file, stream_file, stream_int8_file

    clips = [tone(hertz) for hertz in (250, 300, 350, 2500, 3000, 3500)] + [np.zeros(16_000, np.float32)]
    calibration = np.stack([front_end.clip_log_mel(clip) for clip in clips])[..., None]
    spec = make_spec(front_end, ["low", "high", "_silence_"], train=len(clips))
    streams = []
    if causal:
        frames = Timing.of(front_end.clip_samples, front_end.hop_length).step_frames
        streams = [stream_file(model, frames), stream_int8_file(model, frames, calibration)]
    int8 = network_int8_file(model, calibration)
    files = convert_network(network_file(model), int8, spec, detection(EVALUATED), streams)
    for kind, content in files.items():
        (folder / KINDS[kind]).write_bytes(content)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says so where failures may come from a change by hand: tests look at the committed defaults, figures and card."""
    command = ["git", "diff", "--name-only", "HEAD", "--", "params.yaml", "metrics", "models/README.md"]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if changed and terminalreporter.stats.get("failed"):
        terminalreporter.write_line(
            f"{', '.join(changed)} differ from the last commit: tests of the defaults and of the model card may fail "
            'for that reason. See "Try a change by hand" in docs/tracking.md.',
            yellow=True,
        )
