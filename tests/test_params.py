import re
import unicodedata
from pathlib import Path
from typing import get_args

import pytest
from conftest import ROOT

from kws.core.errors import UserError
from kws.core.params import Params, load_params


def test_the_defaults_are_the_original_recipe():
    params = load_params(ROOT / "params.yaml")
    assert params.words == ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
    assert (params.sample_rate, params.frame_length, params.hop_length, params.fft_length) == (16_000, 1024, 256, 1024)
    assert (params.mel_bins, params.mel_low_hz, params.mel_high_hz, params.log_offset) == (80, 20, 7600, 1e-7)
    assert (params.epochs, params.batch_size, params.learning_rate, params.patience) == (30, 64, 1e-3, 2)
    assert (params.model, params.width, params.schedule, params.warmup_epochs) == ("cnn", 1, "constant", 0)
    assert params.weight_decay == params.label_smoothing == params.weight_averaging == 0
    assert (params.test_dataset, params.unknown, params.silence, params.train_share) == ("", 0, 0, 1)
    assert params.classes == params.words


def test_the_defaults_leave_the_training_clips_as_they_are():
    params = load_params(ROOT / "params.yaml")
    off = ("shift_ms", "speed", "frequency_warp", "noise_share", "gain_db", "time_masks", "frequency_masks", "mixup")
    assert {name: getattr(params, name) for name in off} == dict.fromkeys(off, 0)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"unknown": 1.0}, ("_unknown_",)),
        ({"silence": 0.5}, ("_silence_",)),
        ({"unknown": 2.0, "silence": 1.0}, ("_unknown_", "_silence_")),
    ],
)
def test_other_words_and_silence_are_classes_after_the_words_where_they_are_on(make_params, changes, more):
    assert make_params(words=("yes", "no"), **changes).classes == ("yes", "no", *more)


def test_every_parameter_is_explained_in_params_yaml():
    lines = (ROOT / "params.yaml").read_text().splitlines()
    explained = {line.split(":")[0] for line in lines if "#" in line and not line.startswith(("#", "-"))}
    assert explained == set(Params.model_fields)


def test_the_comments_in_params_yaml_name_every_choice():
    comments = dict(re.findall(r"^(\w+):.*?# (.*)$", (ROOT / "params.yaml").read_text(), flags=re.MULTILINE))
    choices = {name: get_args(field.annotation) for name, field in Params.model_fields.items()}
    for name in ("front_end", "model", "schedule", "split"):
        assert re.match(r"[\w |]+\w", comments[name])[0].split(" | ") == list(choices[name])


def test_yaml_is_read_as_dvc_writes_it(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    text = text.replace("log_offset: 1e-07", "log_offset: 1e-6").replace("seed: 1 ", "seed: 010 ")
    (tmp_path / "params.yaml").write_text(text.replace("- down\n", "- y\n"))
    params = load_params(tmp_path / "params.yaml")
    assert params.log_offset == 1e-6
    assert params.seed == 10
    assert params.words[:4] == ("y", "go", "left", "no")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mel_bin": 64}, "mel_bin: no such parameter; the parameters are dataset, "),
        ({"mel_bins": "many"}, "mel_bins: 'many' is refused: Input should be a valid integer"),
        ({"mel_bins": 64.5}, "mel_bins: 64.5 is refused"),
        ({"mel_bins": True}, "mel_bins: True is refused"),
        ({"mel_bins": 0}, "mel_bins: 0 is refused: Input should be greater than or equal to 1"),
        ({"mel_bins": 300}, "mel_bins: 300 leaves "),
        ({"mel_high_hz": 8001.0}, "mel_high_hz: 8001 is above half the sample rate; at most 8000 Hz"),
        ({"mel_low_hz": 7600.0}, "mel_low_hz: 7600 is not below mel_high_hz, 7600 Hz"),
        ({"fft_length": 512}, "fft_length: 512 cuts the frame; at least frame_length, 1024"),
        ({"hop_length": 2048}, "hop_length: 2048 skips sound; at most frame_length, 1024"),
        ({"frame_length": 20_000, "fft_length": 20_000}, "frame_length: 20000 is longer than a clip; at most 16000"),
        (
            {"front_end": "micro", "sample_rate": 8000, "mel_high_hz": 4000.0, "mel_bins": 40, "hop_length": 160},
            (
                "front_end: micro is the front end of devices, with one set of values; set "
                "sample_rate 16000 (not 8000), frame_length 480 (not 1024), fft_length 512 (not 1024), "
                "mel_low_hz 125 (not 20), mel_high_hz 7500 (not 4000)"
            ),
        ),
        ({"front_end": "mfcc"}, "front_end: 'mfcc' is refused: Input should be 'log_mel' or 'micro'"),
        ({"words": []}, "words: [] is refused: "),
        ({"words": ["yes"]}, "words: 'yes' alone leaves nothing to tell it from; set unknown or silence above 0, or "),
        ({"words": ["yes", "no", "yes"]}, "words: 'yes' is listed twice; list each word once"),
        ({"words": ["yes", "../no"]}, "words.1: '../no' is refused: '../no' is no word"),
        ({"words": ["yes", "_silence_"]}, "words.1: '_silence_' is refused"),
        ({"words": ["yes", True]}, "words.1: True is refused"),
        ({"model": "transformer"}, "model: 'transformer' is refused: Input should be "),
        ({"model": "bc_resnet"}, "mel_bins: 80 does not fit model bc_resnet, which needs 40"),
        (
            {"causal": True},
            "causal: true does not fit model cnn; take ds_cnn, matchboxnet, matchboxnet_2d or tc_resnet",
        ),
        (
            {"causal": True, "model": "ds_cnn", "clip_seconds": 0.25, "hop_length": 1001},
            "hop_length: 1001 leaves no step of 4 frames in a clip, which causal needs; at most 1000",
        ),
        ({"width": 0.0}, "width: 0.0 is refused: Input should be greater than or equal to 0.125"),
        ({"schedule": "linear"}, "schedule: 'linear' is refused: Input should be 'constant' or 'cosine'"),
        ({"warmup_epochs": 31}, "warmup_epochs: 31 is more than epochs, 30"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is refused: Input should be less than 1"),
        ({"weight_averaging": 1.0}, "weight_averaging: 1.0 is refused: Input should be less than 1"),
        ({"train_share": 0.0}, "train_share: 0.0 is refused: Input should be greater than 0"),
        ({"unknown": 20.5}, "unknown: 20.5 is refused: Input should be less than or equal to 20"),
        ({"silence": -1.0}, "silence: -1.0 is refused: Input should be greater than or equal to 0"),
        ({"shift_ms": 200.5}, "shift_ms: 200.5 is refused: Input should be less than or equal to 200"),
        ({"noise_share": 1.5}, "noise_share: 1.5 is refused: Input should be less than or equal to 1"),
        ({"noise_snr_low": 25.5}, "noise_snr_low: 25.5 dB is above noise_snr_high, 25 dB"),
        ({"time_masks": 0.5}, "time_masks: 0.5 is refused: Input should be a valid integer"),
        ({"split": "official"}, "split: 'official' is refused: Input should be 'speaker' or 'random'"),
        ({"fold": "5"}, "fold: '5' is refused: String should match"),
        ({"fold": "6/5"}, "fold: 6/5 is no fold; five folds are 1/5 to 5/5, and two are the fewest"),
        ({"fold": "1/1"}, "fold: 1/1 is no fold"),
        ({"fold": "1/5", "split": "random"}, "fold: 1/5 tests on speakers of dataset; take split speaker"),
        ({"fold": "1/5", "test_dataset": "recordings"}, "fold: 1/5 tests on speakers of dataset; take split speaker"),
        ({"log_offset": 0.0}, "log_offset: 0.0 is refused"),
        ({"log_offset": 1e-50}, "log_offset: 1e-50 is refused"),
        ({"log_offset": float("inf")}, "log_offset: inf is refused"),
        ({"words": ["yes", "no "]}, "words.1: 'no ' is refused: 'no ' has spaces around it; write 'no'"),
        ({"words": ["yes", "_no"]}, "names that begin with _ are reserved"),
        ({"words": ["yes", "no!"]}, "words.1: 'no!' is refused: 'no!' is no word: it begins with a letter or digit"),
        ({"log_offset": float("nan")}, "log_offset: nan is refused"),
        ({"learning_rate": float("inf")}, "learning_rate: inf is refused"),
        ({"dataset_url": "ftp://x/y.zip"}, "dataset_url: 'ftp://x/y.zip' is refused"),
        ({"dataset_url": "https://x/y.zip"}, "dataset_url: https://x/y.zip is a mirror of mini_speech_commands or "),
        ({"dataset_sha256": "0" * 64}, "dataset_sha256: 0000"),
        ({"language": ""}, "language: '' is refused"),
        ({"language": "de", "neural_share": 0.5}, "neural_share: 0.5 needs language en, since Hibari speaks English "),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_says_what_is_allowed(write_params, changes, message):
    with pytest.raises(UserError) as error:
        load_params(write_params(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_one_word_without_a_list_is_told_how_to_write_it(write_params):
    path = write_params()
    path.write_text(re.sub(r"words:\n(- .*\n)+", "words: jarvis\n", path.read_text()))
    with pytest.raises(UserError, match=r"words: 'jarvis' is refused: give a list, also of one: \[jarvis\]$"):
        load_params(path)


def test_all_problems_are_told_at_once(write_params):
    with pytest.raises(UserError, match=r"mel_bins: .*; epochs: "):
        load_params(write_params(mel_bins=-1, epochs=0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not here: start from"),
        ("- 1\n", "holds no keys"),
        ("a: [", "is not YAML"),
        ("{}", "seed: is missing"),
        ("words: [gr\u00fcn]".encode("latin-1"), r"params\.yaml is not UTF-8: save it as UTF-8$"),
    ],
)
def test_a_file_that_is_no_set_of_parameters_is_refused(tmp_path: Path, content, message):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_params(path)


def test_a_fold_is_read_as_two_numbers(make_params):
    assert make_params(fold="3/12").fold_of_folds == (3, 12)
    assert make_params().fold_of_folds is None


@pytest.mark.parametrize("changes", [{"unknown": 1.0}, {"silence": 0.5}])
def test_one_word_alone_is_enough_where_there_is_another_class(make_params, changes):
    assert len(make_params(words=("hey_jarvis",), **changes).classes) == 2


LANGUAGES = "gru\u0308n हाँ ใช่ don't don\u2019t hey_jarvis 7 да 咖啡 커피 コーヒー col\u00b7lega yes_".split()  # noqa: SIM905 (shorter)
LANGUAGES += ["hey kws", "می\u200cخواهم", "צ\u05f3יפס"]  # noqa: RUF001 (Persian and Hebrew)


@pytest.mark.parametrize("word", LANGUAGES)
def test_words_of_any_language_are_allowed(write_params, word):
    assert load_params(write_params(words=["x", word])).words[1] == unicodedata.normalize("NFC", word)


def test_computed_voices_speak_beside_recordings_only(make_params):
    assert make_params(dataset="recordings", computed_voices=60).computed_voices == 60
    with pytest.raises(ValueError, match="computed_voices: 60 speak beside recordings, and dataset synthetic has none"):
        make_params(dataset="synthetic", computed_voices=60)
