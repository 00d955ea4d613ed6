"""The parameters of an experiment: read from params.yaml in DVC's dialect of YAML, checked before any work."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kws.audio import micro
from kws.audio.clip import STEP_FRAMES
from kws.audio.mel import mel_matrix
from kws.core import paths
from kws.core.errors import UserError
from kws.core.naming import SILENCE, UNKNOWN, file_name, plain_name

Model = Literal["bc_resnet", "cnn", "ds_cnn", "matchboxnet", "matchboxnet_2d", "tc_resnet"]  # train/networks
CAUSAL = ("ds_cnn", "matchboxnet", "matchboxnet_2d", "tc_resnet")  # the networks that can be causal
PUBLISHED = ("mini_speech_commands", "speech_commands")
OUR_EMBEDDING = "kws"  # the value of `pretrained` for the embeddings that come with kws


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML with the core schema of YAML 1.2, which DVC writes.

    Plain PyYAML reads `no` as False and `1e-3` as text; yes, no, on and off are our words.
    """


_Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))  # 010 is ten in YAML 1.2


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


class Params(BaseModel):
    """All parameters. params.yaml explains each one, and is the only place that has defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dataset: str = Field(min_length=1)
    dataset_url: str = Field(pattern=r"^((https?|file)://\S+)?$")
    dataset_sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")
    words: tuple[Annotated[str, AfterValidator(plain_name)], ...] = Field(min_length=1, strict=False)
    split: Literal["speaker", "random"]
    fold: str = Field(pattern=r"^([1-9]\d?/[1-9]\d?)?$")
    seed: int = Field(ge=0, lt=2**32)
    test_dataset: str
    unknown: float = Field(ge=0, le=20)
    unheard_words: float = Field(ge=0, le=0.9)
    silence: float = Field(ge=0, le=20)
    train_share: float = Field(gt=0, le=1)
    computed_voices: int = Field(ge=0, le=2000)
    language: str = Field(min_length=1)
    synthetic_speakers: int = Field(ge=20, le=2000)
    synthetic_variety: float = Field(ge=0, le=1)
    neural_share: float = Field(ge=0, le=1)
    max_unusable_share: float = Field(ge=0, le=1)
    cut: Literal["auto", "word", "takes", "start"]

    front_end: Literal["log_mel", "micro"]
    sample_rate: int = Field(ge=4000, le=48_000)
    clip_seconds: float = Field(ge=0.1, le=10)
    frame_length: int = Field(ge=16)
    hop_length: int = Field(ge=1)
    fft_length: int = Field(ge=16, le=65_536)
    mel_bins: int = Field(ge=1, le=512)
    mel_low_hz: float = Field(ge=0)
    mel_high_hz: float = Field(gt=0)
    log_offset: float = Field(ge=1e-30, le=1)

    model: Model
    causal: bool
    width: float = Field(ge=0.125, le=16)
    pretrained: str
    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(ge=1, le=4096)
    learning_rate: float = Field(gt=0, le=1)
    schedule: Literal["constant", "cosine"]
    warmup_epochs: int = Field(ge=0, le=1000)
    weight_decay: float = Field(ge=0, le=1)
    label_smoothing: float = Field(ge=0, lt=1)
    weight_averaging: float = Field(ge=0, lt=1)
    patience: int = Field(ge=1, le=1000)
    threads: int = Field(ge=1, le=64)

    shift_ms: float = Field(ge=0, le=200)
    speed: float = Field(ge=0, le=0.3)
    frequency_warp: float = Field(ge=0, le=0.3)
    noise_share: float = Field(ge=0, le=1)
    noise_snr_low: float = Field(ge=-30, le=60)
    noise_snr_high: float = Field(ge=-30, le=60)
    gain_db: float = Field(ge=0, le=40)
    time_masks: int = Field(ge=0, le=10)
    time_mask_ms: float = Field(ge=0, le=1000)
    frequency_masks: int = Field(ge=0, le=10)
    frequency_mask_bins: int = Field(ge=0, le=512)
    mixup: float = Field(ge=0, le=10)
    spliced: float = Field(ge=0, le=1)

    stream_minutes: int = Field(ge=1, le=6000)
    false_alarms_an_hour: float = Field(gt=0, le=3600)

    projection_clips: int = Field(ge=50, le=10_000)
    umap_neighbors: int = Field(ge=2, le=200)
    umap_min_dist: float = Field(ge=0, le=1)
    tsne_perplexity: float = Field(ge=2, le=200)

    @property
    def clip_samples(self) -> int:
        """Length of every clip, in samples at `sample_rate`."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the network: the words, then `_unknown_` and `_silence_` if they are on."""
        extra = {UNKNOWN: self.unknown, SILENCE: self.silence}
        return self.words + tuple(name for name, share in extra.items() if share)

    def cut_of(self, dataset: str) -> Literal["word", "takes", "start"]:
        """How the recordings of a data set become clips: `auto` is `start` for published and computed ones."""
        if self.cut != "auto":
            return self.cut
        return "start" if dataset in ("synthetic", "speech_commands_test_set", *PUBLISHED) else "word"

    @property
    def for_devices(self) -> bool:
        """Whether there are files for small devices with ESPHome: they hear with front end `micro`, step by step."""
        return self.causal and self.front_end == "micro"

    @property
    def fold_of_folds(self) -> tuple[int, int] | None:
        """Which fold of a cross-validation is the test, from 1, and how many folds there are; None: no folds."""
        fold, _, folds = self.fold.partition("/")
        return (int(fold), int(folds)) if self.fold else None

    @model_validator(mode="after")
    def _source_is_possible(self) -> Self:
        for word in self.words:
            if self.words.count(word) > 1:
                raise ValueError(f"words: {word!r} is listed twice; list each word once")
        names = [file_name(word).lower() for word in self.words]  # some file systems know no capital letters
        for word, name in zip(self.words, names, strict=True):
            if self.for_devices and names.count(name) > 1:
                raise ValueError(f"words: {word!r} and another one would be the file {name}.tflite; rename one")
        if len(self.classes) < 2:
            raise ValueError(
                f"words: {self.words[0]!r} alone leaves nothing to tell it from; "
                "set unknown or silence above 0, or add a word"
            )
        if self.dataset_url and self.dataset not in PUBLISHED:
            raise ValueError(
                f"dataset_url: {self.dataset_url} is a mirror of {' or '.join(PUBLISHED)}, "
                f"but dataset is {self.dataset}; leave it empty, or give the address as dataset"
            )
        if self.test_dataset in (self.dataset, "synthetic"):
            raise ValueError(
                f"test_dataset: {self.test_dataset} is not allowed; "
                "give recordings that are not in dataset, or leave it empty"
            )
        if self.dataset_sha256 and not (self.dataset_url or "://" in self.dataset):
            raise ValueError(
                f"dataset_sha256: {self.dataset_sha256} is the checksum of a mirror or an address, "
                "and neither is given; leave it empty"
            )
        return self

    @model_validator(mode="after")
    def _voices_are_possible(self) -> Self:
        if self.neural_share and self.language.partition("-")[0] != "en":
            raise ValueError(
                f"neural_share: {self.neural_share:g} needs language en, since Hibari speaks English only; "
                f"for language {self.language}, set it to 0"
            )
        if self.computed_voices and self.dataset == "synthetic":
            raise ValueError(
                f"computed_voices: {self.computed_voices} speak beside recordings, and dataset synthetic has none; set "
                "it to 0 (synthetic_speakers says how many voices there are)"
            )
        return self

    @model_validator(mode="after")
    def _fold_is_possible(self) -> Self:
        if self.fold_of_folds:
            fold, folds = self.fold_of_folds
            if folds < 2 or fold > folds:
                raise ValueError(f"fold: {self.fold} is no fold; five folds are 1/5 to 5/5, and two are the fewest")
            if self.split != "speaker" or self.test_dataset:
                raise ValueError(
                    f"fold: {self.fold} tests on speakers of dataset; take split speaker, and no test_dataset"
                )
        return self

    @model_validator(mode="after")
    def _training_is_possible(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs: {self.warmup_epochs} is more than epochs, {self.epochs}")
        if self.noise_snr_low > self.noise_snr_high:
            raise ValueError(
                f"noise_snr_low: {self.noise_snr_low:g} dB is above noise_snr_high, {self.noise_snr_high:g} dB"
            )
        if self.spliced and not self.unknown:
            raise ValueError(
                f"spliced: {self.spliced:g} makes clips of class _unknown_, which is off; set unknown, too"
            )
        if self.model == "bc_resnet" and self.mel_bins != 40:
            raise ValueError(f"mel_bins: {self.mel_bins} does not fit model bc_resnet, which needs 40")
        if self.causal and self.model not in CAUSAL:
            raise ValueError(
                f"causal: true does not fit model {self.model}; take {', '.join(CAUSAL[:-1])} or {CAUSAL[-1]}"
            )
        return self

    @model_validator(mode="after")
    def _front_end_is_possible(self) -> Self:
        needed = {name: value for name, value in micro.SETTINGS.items() if getattr(self, name) != value}
        if self.front_end == "micro" and needed:
            wanted = ", ".join(f"{name} {value:g} (not {getattr(self, name):g})" for name, value in needed.items())
            raise ValueError(f"front_end: micro is the front end of devices, with one set of values; set {wanted}")
        if self.frame_length > self.clip_samples:
            raise ValueError(f"frame_length: {self.frame_length} is longer than a clip; at most {self.clip_samples}")
        if self.hop_length > self.frame_length:
            raise ValueError(f"hop_length: {self.hop_length} skips sound; at most frame_length, {self.frame_length}")
        if self.causal and self.clip_samples // self.hop_length < STEP_FRAMES:
            raise ValueError(
                f"hop_length: {self.hop_length} leaves no step of {STEP_FRAMES} frames in a clip, which causal needs; "
                f"at most {self.clip_samples // STEP_FRAMES}"
            )
        if self.fft_length < self.frame_length:
            raise ValueError(
                f"fft_length: {self.fft_length} cuts the frame; at least frame_length, {self.frame_length}"
            )
        if self.mel_high_hz > self.sample_rate / 2:
            raise ValueError(
                f"mel_high_hz: {self.mel_high_hz:g} is above half the sample rate; at most {self.sample_rate / 2:g} Hz"
            )
        if self.mel_low_hz >= self.mel_high_hz:
            raise ValueError(f"mel_low_hz: {self.mel_low_hz:g} is not below mel_high_hz, {self.mel_high_hz:g} Hz")
        weights = mel_matrix(self.sample_rate, self.fft_length, self.mel_bins, self.mel_low_hz, self.mel_high_hz)
        empty = int((weights.sum(axis=0) == 0).sum())
        if empty:
            raise ValueError(
                f"mel_bins: {self.mel_bins} leaves {empty} Mel filters with no FFT bin in them; "
                f"take fewer, or a longer fft_length than {self.fft_length}"
            )
        return self


def pretrained_path(pretrained: str) -> Path | None:
    """Where the file is, or should be, that parameter `pretrained` names; None if it names none.

    Relative paths start at the project's root.

    Raises:
        UserError: it is an output of the project, which DVC removes before it trains.
    """
    if pretrained in ("", OUR_EMBEDDING):
        return None
    root = paths.project_root()
    path = Path(os.path.abspath(root / os.path.expanduser(pretrained)))  # noqa: PTH100, PTH111 (as of `dataset`)
    if path == root / paths.MODEL:
        raise UserError(f"pretrained: {pretrained} is what stage train writes; copy it to another place, and give that")
    return path


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file.

    Raises:
        UserError: the file does not exist, is no YAML in UTF-8, or holds no keys.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Yaml12Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise UserError(f"{path} is not here: start from the project's root") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8: save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys")
    return content


def load_params(path: Path = paths.PARAMS) -> Params:
    """The checked parameters of `path`.

    Raises:
        UserError: one line that names the key, its value and what is allowed.
    """
    content = read_yaml(path)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: no such parameter; the parameters are {', '.join(Params.model_fields)}"
    if problem["type"] == "missing":
        return f"{key}: is missing"
    if problem["type"] == "tuple_type":
        return f"{key}: {problem['input']!r} is refused: give a list, also of one: [{problem['input']}]"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key}: {problem['input']!r} is refused: {message}"
