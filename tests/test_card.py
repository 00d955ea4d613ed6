import json
import re
from dataclasses import replace

import pytest
from conftest import ROOT, SOURCE, TEST_ARCHIVE

from kws.audio import micro
from kws.core.files import read_json
from kws.project.card import OFFICIAL_MODELS, model_card
from kws.recordings.licences import ESPEAK, NOT_IN_THE_MODEL, NOT_KNOWN, what_follows
from kws.spotting.detect import SENSITIVITIES

FIGURES = {
    "download": {"clips": 12345, "words": 10, "speakers": 678, "bytes": 5, "synthetic": 0},
    "featurize": {"train": 9001, "validation": 1002, "test": 1003, "unheard_test": 911, "set_aside": 7},
    "train": {"epochs": 3, "parameters": 254_626},
    "devices": {},
    "export": {
        "test_clips": 1003,
        "answers_a_second": 12.5,
        **{
            f"{kind}_{figure}": value
            for kind, *values in (
                ("float32", 1_234_567, 0.9512, 1.0, 5_000_001, 62_500_013, 484_272),
                ("int8", 345_678, 0.9492, 0.9937, 5_000_002, 62_500_025, 484_273),
                ("features", 312_345, 0.9493, 0.9938, 4_000_003, 50_000_038, 78_976),
            )
            for figure, value in zip(
                (
                    *("bytes", "accuracy", "agreement"),
                    *("multiplications", "multiplications_a_second", "peak_memory_bytes"),
                ),
                values,
                strict=True,
            )
        },
    },
    "evaluate": {
        "test_clips": 1003,
        "accuracy": 0.9512,
        "accuracy_low": 0.9361,
        "accuracy_high": 0.9629,
        "accuracy_worst_speakers": 0.6123,
        "accuracy_best_speakers": 0.9987,
        "calibration_error": 0.0345,
        "loss": 0.2,
    },
}
WORDS = {
    f"{name}_{word}": 0.5 + 0.01 * position + 0.0013 * index
    for index, name in enumerate(("precision", "recall", "f1"))
    for position, word in enumerate(("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"))
}
SECTIONS = {  # figures that evaluate writes in some experiments only; LINES has a line of the card for each
    "noise": {
        f"noise_{level}_accuracy{end}": value + shift
        for level, value in (("clean", 0.93), ("20db", 0.91), ("-5db", 0.41))
        for end, shift in (("", 0.0), ("_low", -0.0234), ("_high", 0.0217))
    },
    "conditions": {
        f"{name}_accuracy{end}": value + shift
        for name, value in (("level_below_-40dbfs", 0.8111), ("snr_below_20db", 0.6911), ("snr_above_50db", 0.9587))
        for end, shift in (("", 0.0), ("_low", -0.0612), ("_high", 0.0523))
    },
    "8 bits": {"int8_noise_0db_accuracy": 0.8517, "int8_noise_lost": 0.0021, "int8_stream_missed": 0.1391},
    "stream": {
        "stream_hours": 0.1667,
        "stream_words": 146,
        "stream_threshold": 0.7161,
        "stream_missed": 0.1234,
        "stream_missed_low": 0.0871,
        "stream_missed_high": 0.1766,
        "stream_wrong": 0.0213,
        "stream_wrong_low": 0.0104,
        "stream_wrong_high": 0.0431,
        "stream_delay_seconds": 1.31,
        "stream_delay_95_seconds": 1.62,
        "stream_within_300_ms": 0.6127,
        "stream_within_300_ms_low": 0.5518,
        "stream_within_300_ms_high": 0.6702,
        "stream_within_500_ms": 0.7931,
        "stream_within_500_ms_low": 0.7412,
        "stream_within_500_ms_high": 0.8374,
        "stream_carries_over": 1,
        **{
            f"stream_{kind}false_alarms_an_hour{end}": rate
            for kind, rates in (
                ("", (0.51, 0.26, 0.98)),
                ("speech_", (0.31, 0.16, 0.78)),
                ("background_", (0.19, 0.09, 0.58)),
                ("word_", (0.01, 0.003, 0.28)),
            )
            for end, rate in zip(("", "_low", "_high"), rates, strict=True)
        },
        **{
            f"{name}_{figure}": round(value + 0.017 * number, 4)
            for number, name in enumerate(SENSITIVITIES)
            for figure, value in (
                *(("threshold", 0.611), ("allowed_false_alarms_an_hour", 0.52)),
                *(("validation_missed", 0.21), ("validation_missed_low", 0.18), ("validation_missed_high", 0.26)),
                *(("test_missed", 0.22), ("test_missed_low", 0.19), ("test_missed_high", 0.27)),
                *(("validation_false_alarms_an_hour", 0.47), ("test_false_alarms_an_hour", 0.77)),
                *(("validation_false_alarms_an_hour_low", 0.13), ("validation_false_alarms_an_hour_high", 0.91)),
                *(("test_false_alarms_an_hour_low", 0.29), ("test_false_alarms_an_hour_high", 1.17)),
            )
        },
    },
    "unknown": {
        "precision__unknown_": 0.7711,
        "recall__unknown_": 0.7522,
        "f1__unknown_": 0.7613,
        "recall__unknown__low": 0.7212,
        "recall__unknown__high": 0.7833,
    },
    "silence": {
        "precision__silence_": 0.9811,
        "recall__silence_": 0.9722,
        "f1__silence_": 0.9766,
        "recall__silence__low": 0.9512,
        "recall__silence__high": 0.9843,
    },
    "unheard": {
        "unheard_clips": 798,
        "unheard_rejected": 0.6123,
        "unheard_rejected_low": 0.5781,
        "unheard_rejected_high": 0.6454,
    },
    "leak": {
        "leaking": 1,
        "new_speakers_clips": 88,
        "new_speakers_accuracy": 0.8412,
        "new_speakers_accuracy_low": 0.7514,
        "new_speakers_accuracy_high": 0.9023,
    },
}
ON_DEVICES = {
    "down": {
        "hours": 0.75,
        "step_frames": 3,
        "words": 61,
        "size": 5,
        "cutoff": 0.8353,
        "delay_seconds": 0.141,
        "delay_95_seconds": 0.362,
        **{
            f"{name}{end}": round(value + shift, 4)
            for name, value in (
                *(("missed", 0.1131), ("float32_missed", 0.1072), ("within_300_ms", 0.7712)),
                *(("false_alarms_an_hour", 0.655), ("float32_false_alarms_an_hour", 0.714)),
            )
            for end, shift in (("", 0.0), ("_low", -0.0357), ("_high", 0.0519))
        },
        **{
            f"{name}_{figure}": round(value + 0.019 * number, 4)
            for number, name in enumerate(SENSITIVITIES)
            for figure, value in (
                *(("cutoff", 0.8163), ("allowed_false_alarms_an_hour", 0.53)),
                *(("validation_missed", 0.233), ("validation_missed_low", 0.211), ("validation_missed_high", 0.273)),
                *(("test_missed", 0.244), ("test_missed_low", 0.222), ("test_missed_high", 0.284)),
                *(("validation_false_alarms_an_hour", 0.455), ("test_false_alarms_an_hour", 0.766)),
                *(("validation_false_alarms_an_hour_low", 0.122), ("validation_false_alarms_an_hour_high", 0.911)),
                *(("test_false_alarms_an_hour_low", 0.288), ("test_false_alarms_an_hour_high", 1.155)),
            )
        },
    }
}
OF_ESPHOME = {
    "bytes": 100_617,
    "arena_bytes": 41_248,
    "multiplications": 205_922,
    "multiplications_a_second": 6_864_067,
    "peak_memory_bytes": 9876,
}


LINES = {
    "noise": "signal-to-noise ratio -5 dB: accuracy | 41.0 % | 38.7 to 43.2 % |",
    "stream": "missed words | 12.3 % | 8.7 to 17.7 % |\n"
    "| the same stream: another of the words detected instead | 2.1 % | 1.0 to 4.3 % |\n"
    "| the same stream: false alarms an hour | 0.51 | 0.26 to 0.98 |\n"
    "| the same stream: false alarms an hour at other speech | 0.31 | 0.16 to 0.78 |\n"
    "| the same stream: false alarms an hour in background | 0.19 | 0.09 to 0.58 |\n"
    "| the same stream: false alarms an hour beside a word | 0.01 | 0.003 to 0.28 |\n"
    "| the same stream: words that are told within 0.3 s of their end, of all words | 61.3 % | 55.2 to 67.0 % |\n"
    "| the same stream: words that are told within 0.5 s of their end, of all words | 79.3 % | 74.1 to 83.7 % |\n"
    "| the same stream, words that are heard: time from the end to the report, median | 1.31 s | 95 % of these words "
    "within 1.62 s |",
    "conditions": "words softer than -40 dB of full scale: accuracy | 81.1 % | 75.0 to 86.3 % |\n"
    "| words less than 20 dB above the noise in their recording: accuracy | 69.1 % | 63.0 to 74.3 % |",
    "8 bits": "In noise as loud as the words, the accuracy in 8 bits is 85.2 %. In a stream, 8 bits miss 13.9 % of",
    "unknown": "other words that training contains: rejected | 75.2 % | 72.1 to 78.3 % |",
    "silence": "silence: recognised | 97.2 % | 95.1 to 98.4 % |",
    "unheard": "other words that training does not contain (798 clips): rejected | 61.2 % | 57.8 to 64.5 % |",
    "leak": "On the 88 test clips of speakers who are not in training, the accuracy is 84.1 % (75.1 to 90.2 %).",
}


@pytest.fixture
def card(make_params):
    """Makes a card of these sections of the metrics."""

    def make(*sections, source=SOURCE, without=(), by_speaker=False, **changes):
        switches = {name: 1.0 for name in ("unknown", "silence") if name in sections}
        split = "random" if "leak" in sections and not by_speaker else "speaker"
        evaluate = FIGURES["evaluate"] | WORDS
        for section in sections:
            evaluate |= SECTIONS[section]
        figures = FIGURES | {"evaluate": evaluate} | {stage: {} for stage in without}
        return model_card(make_params(split=split, **switches | changes), source, figures)

    return make


STREAMS = {
    f"{kind}_{figure}": value
    for kind, of_kind in {
        "stream": (1_240_001, 0.9511, 0.9991, 500_004, 6_250_050, 30_001),
        "stream_features": (320_002, 0.9484, 0.9934, 400_005, 5_000_063, 20_002),
        "esphome_yes": (60_003, None, None, 40_006, 1_333_533, 7003),
    }.items()
    for figure, value in zip(
        ("bytes", "accuracy", "agreement", "multiplications", "multiplications_a_second", "peak_memory_bytes"),
        of_kind,
        strict=True,
    )
} | {"features_arena_bytes": 98_304, "stream_features_arena_bytes": 45_004, "esphome_yes_arena_bytes": 23_008}


def numbers_of(value):
    """The ways in which a card may write what a file holds."""
    if isinstance(value, dict):
        return set().union(*(numbers_of(entry) for entry in value.values()), set())
    if isinstance(value, list | tuple):
        return set().union(*(numbers_of(entry) for entry in value), set())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {f"{value}", f"{value:,}", f"{value:.4g}", f"{100 * value:.1f}", json.dumps(value)}
    return set(re.findall(r"[\d][\d.,]*", str(value)))


def test_every_number_in_the_card_is_found_in_the_files(card, make_params):
    text = card(*SECTIONS)
    words = 10
    files = [
        FIGURES,
        read_json(OFFICIAL_MODELS),
        WORDS,
        SECTIONS,
        SOURCE.to_json(),
        make_params(unknown=1.0, silence=1.0).model_dump(),
        words,
    ]
    counts = [cost["multiplications"] for cost in read_json(OFFICIAL_MODELS)["models"].values()]
    counts += [FIGURES["export"][f"{kind}_multiplications"] for kind in ("float32", "int8", "features")]
    files.append([round(12.5 * count) for count in counts])  # at our rate
    known = set().union(*(numbers_of(file) for file in files)) | {"-5", "-40", "20", "95", "64", "32", "8", "1"}
    prose = re.sub(r"`[^`\n]*`|F1|SHA-256|Apache-2\.0", "", text.partition("```yaml")[0])
    found = re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?", prose)
    assert len(found) > 90
    assert set(found) <= known
    figures = [row for row in text.splitlines() if row.startswith("| `down`")]
    assert figures == ["| `down` | 50.0 % | 50.1 % | 50.3 % |"]


def test_every_figure_of_the_metrics_that_the_card_tells_stands_in_it(card):
    text = card(*SECTIONS)
    for line in LINES.values():
        assert line in text
    assert (
        "**Accuracy 95.1 %** on 1,003 test clips. The 95 % interval, for other speakers like these, is 93.6 to 96.3 %."
        in text
    )
    assert "| `kws_int8.tflite` (8 bits) | waveform | 345,678 | 94.9 % | 99.4 % |" in text
    assert "| `kws_features.tflite` (8 bits) | features | 312,345 | 94.9 % | 99.4 % |" in text
    assert "| `kws_features.tflite` | 312,345 | 12.5 | 4,000,003 | 50,000,038 | 50,000,038 | 78,976 |  |" in text
    assert "12,345 clips of 678 speakers" in text


def test_what_kws_listen_has_heard_is_said_where_people_and_words_are_called_new(card, monkeypatch):
    assert "kws listen --keep" not in card("unheard")
    assert "nobody in the test is in training." in card("unheard")
    heard = FIGURES["evaluate"] | {"heard_clips": 159, "heard_unknown_clips": 68}
    monkeypatch.setitem(FIGURES, "evaluate", heard)
    text = card("unheard")
    assert "nobody in the test is in training, as far as names tell." in text
    assert (
        "159 training clips are what `kws listen --keep` has heard. Nobody knows who speaks in them: if people" in text
    )
    assert (
        "does not contain (798 clips), unless they are in the 68 clips of other words that `kws listen --keep` has "
        "heard: rejected | 61.2 %"
    ) in text
    monkeypatch.setitem(FIGURES, "evaluate", heard | {"heard_unknown_clips": 0})
    assert "unless they are" not in card("unheard")


def test_files_for_devices_are_told_with_their_own_figures(card, monkeypatch):
    assert "ESPHome" not in card(*SECTIONS)
    monkeypatch.setitem(FIGURES, "devices", ON_DEVICES)
    refused = card(*SECTIONS)
    assert "| `down` | refused | | | 11.3 % (7.7 to 16.5 %) |" in refused
    assert "**There is no file for `down`**" in refused
    export = FIGURES["export"] | {f"esphome_down_{name}": value for name, value in OF_ESPHOME.items()}
    monkeypatch.setitem(FIGURES, "export", export)
    text = card(*SECTIONS)
    assert (
        "| `down` | 100,617 | 41,248 | 6,864,067 | 11.3 % (7.7 to 16.5 %) | 10.7 % (7.1 to 15.9 %) | "
        "0.655 (0.6193 to 0.7069) | 77.1 % (73.6 to 82.3 %) | 0.141 s, 0.362 s |"
    ) in text
    assert (
        "| `down` | `balanced` | 0.8353 | 5 | 0.549 | 0.474 (0.141 to 0.93) | 0.785 (0.307 to 1.174) | "
        "25.2 % (23.0 to 29.2 %) | 26.3 % (24.1 to 30.3 %) |"
    ) in text
    assert "There is no file" not in text
    assert "too short" not in text.partition("## On devices with ESPHome")[2]
    shorter = {"down": ON_DEVICES["down"] | {"balanced_too_short": 1, "few_misses_rate_not_kept": 1}}
    monkeypatch.setitem(FIGURES, "devices", shorter)
    assert "too short to tell 0.549 false alarms an hour** (`down`, `balanced`)" in card(*SECTIONS)
    assert "**No cutoff keeps 0.53 false alarms an hour**" in card(*SECTIONS)


@pytest.mark.parametrize("missing", SECTIONS)
def test_what_the_metrics_do_not_tell_of_is_left_out(card, missing):
    text = card(*(section for section in SECTIONS if section != missing))
    assert LINES[missing] not in text
    for section in SECTIONS:
        assert (LINES[section] in text) == (section != missing)


def test_what_a_stream_costs_stands_beside_the_sliding_window_and_the_official_wake_words(card, monkeypatch):
    assert "step by step" not in card().partition("The official wake words")[0]
    monkeypatch.setitem(FIGURES, "export", FIGURES["export"] | STREAMS)
    monkeypatch.setitem(FIGURES, "devices", {"yes": ON_DEVICES["down"]})
    text = card()
    for row in (
        "| `kws_stream.tflite` (float32) | waveform step by step | 1,240,001 | 95.1 % | 99.9 % |",
        "| `kws_stream_features.tflite` (8 bits) | features step by step | 320,002 | 94.8 % | 99.3 % |",
        "| `kws_features.tflite` | 312,345 | 12.5 | 4,000,003 | 50,000,038 | 50,000,038 | 78,976 | 98,304 |",
        "| `kws_stream.tflite` | 1,240,001 | 12.5 | 500,004 | 6,250,050 | 6,250,050 | 30,001 |  |",
        "| `kws_stream_features.tflite` | 320,002 | 12.5 | 400,005 | 5,000,063 | 5,000,062 | 20,002 | 45,004 |",
        "| `esphome/yes.tflite` | 60,003 | 33.33 | 40,006 | 1,333,533 | 500,075 | 7,003 | 23,008 |",
        "| official wake word `hey_jarvis` | 52,272 | 33.3 | 21,631 | 721,033 | 270,388 | 6,080 | 20,320 |",
    ):
        assert f"\n{row}\n" in text
    assert "A sliding window computes a whole clip for each answer, a stream what is new." in text
    assert re.search(r"(\n\|[^\n]+){12}\n\nThe official wake words are", text)  # one table


def test_operators_that_are_not_counted_leave_fields_of_the_table_without_a_number(card, monkeypatch):
    export = {name: value for name, value in FIGURES["export"].items() if not name.startswith("int8_multiplications")}
    monkeypatch.setitem(FIGURES, "export", export)
    row = "| `kws_int8.tflite` | 345,678 | 12.5 | not counted | not counted | not counted | 484,273 |  |"
    assert f"\n{row}\n" in card()


def test_with_the_front_end_of_devices_all_files_take_features(card, monkeypatch):
    monkeypatch.setitem(FIGURES, "export", FIGURES["export"] | STREAMS)
    text = card(front_end="micro", **micro.SETTINGS)
    table = text.partition("| file | takes |")[2].partition("\n\n")[0]
    assert table.count("| features |") == 3
    assert table.count("| features step by step |") == 2
    assert "waveform" not in table


def test_that_the_stream_in_8_bits_was_heard_on_whole_clips_alone_stands_beside_the_thresholds(card, monkeypatch):
    told = "`kws_stream_features.tflite` hears step by step in 8 bits. It was compared on whole clips alone"
    assert told not in card("stream")
    monkeypatch.setitem(FIGURES, "export", FIGURES["export"] | STREAMS)
    assert told in card("stream").partition("## Thresholds")[2].partition("## On a device")[0]


def test_without_an_export_nothing_is_said_of_devices(card):
    assert "On a device" in card()
    assert "device" not in card(without=["export"]).replace("small devices", "")


def test_a_model_without_classes_for_them_is_said_to_know_neither_other_words_nor_silence(card):
    assert "It answers every word with one of its 10 words." in card()
    assert "It answers a clip without speech with a word." in card()
    assert "It answers" not in card("unknown", "silence")


def test_the_card_of_one_wake_word_speaks_of_one(card):
    text = card("silence", words=("jarvis",), silence=1.0)
    assert text.startswith("# Model card: 1 spoken word\n")
    assert (
        "- The model has no class for other words. It answers every word with its word, or takes it for silence."
        in text
    )


def test_computed_voices_that_say_other_words_are_told(card):
    computed = replace(SOURCE, unheard=SOURCE.unheard | {"unheard_test": "computed"})
    line = "other words that training does not contain (798 clips of computed voices): rejected | 61.2 %"
    assert line in card("unheard", source=computed)


def test_it_is_a_limit_that_the_test_holds_no_other_words(card):
    limit = "- The test clips hold no other words. How often the model takes other words for its own is not known."
    assert limit in card(unknown=1.0)
    assert "no class for other words" not in card(unknown=1.0)
    assert limit not in card("unknown")
    assert limit not in card("unheard", unknown=1.0)
    assert limit not in card()


def without_words(stream):
    return {name: value for name, value in stream.items() if not re.search("missed|wrong|delay|within", name)}


def test_a_stream_without_words_has_its_false_alarms_in_the_card(card, monkeypatch):
    monkeypatch.setitem(SECTIONS, "stream", without_words(SECTIONS["stream"]) | {"stream_words": 0})
    text = card("stream")
    assert "| stream of other speech over background: false alarms an hour | 0.51 | 0.26 to 0.98 |" in text
    assert "| `balanced` | 0.628 | 0.537 | 0.487 (0.147 to 0.927) | 0.787 (0.307 to 1.187) |  |  |" in text
    assert ": missed words" not in text


def test_the_three_thresholds_stand_in_the_card_with_what_validation_and_test_say_of_them(card):
    text = card("stream")
    assert (
        "| `few_misses` | 0.611 | 0.52 | 0.47 (0.13 to 0.91) | 0.77 (0.29 to 1.17) | 21.0 % (18.0 to 26.0 %) "
        "| 22.0 % (19.0 to 27.0 %) |"
    ) in text
    assert (
        "| `balanced` | 0.628 | 0.537 | 0.487 (0.147 to 0.927) | 0.787 (0.307 to 1.187) | 22.7 % (19.7 to 27.7 %) "
        "| 23.7 % (20.7 to 28.7 %) |"
    ) in text
    assert "| `few_false_alarms` | 0.645 | 0.554 |" in text
    assert "The network in float32 was measured, not the one in 8 bits." in text
    assert "## Thresholds" not in card("noise")


def test_a_threshold_that_keeps_no_rate_or_does_not_carry_over_is_told(card, monkeypatch):
    kept, carried = "**No threshold keeps 0.554 false alarms an hour**", "**The threshold does not carry over.**"
    assert kept not in card("stream")
    assert carried not in card("stream")
    changes = {"few_false_alarms_rate_not_kept": 1, "stream_carries_over": 0}
    monkeypatch.setitem(SECTIONS, "stream", SECTIONS["stream"] | changes)
    text = card("stream")
    assert f"{kept} in the validation stream. Even at the highest threshold, 0.645, there are 0.504." in text
    assert "No threshold keeps 0.537" not in text
    assert carried in text


def test_a_stream_too_short_for_its_rates_is_told_in_the_card(card, monkeypatch):
    short, same = "**The streams are too short to tell 0.537 false alarms an hour** (`balanced`).", "have one threshold"
    assert short not in card("stream")
    assert same not in card("stream")
    stream = {name: value for name, value in SECTIONS["stream"].items() if name != "stream_carries_over"}
    changes = {"balanced_too_short": 1, "few_false_alarms_too_short": 1, "few_false_alarms_threshold": 0.628}
    monkeypatch.setitem(SECTIONS, "stream", stream | changes)
    text = card("stream")
    assert short in text
    assert "**The streams are too short to tell 0.52 " not in text
    assert "\n`balanced` and `few_false_alarms` have one threshold.\n" in text
    assert "carry over" not in text


def test_the_card_says_what_the_other_speech_of_the_stream_is_made_of(card):
    text = card("stream")
    assert "| stream of 146 words and other speech over background, threshold 0.7161: missed words |" in text
    assert "That is made of 911 clips of other words." in text
    computed = replace(SOURCE, unheard=SOURCE.unheard | {"unheard_test": "computed"})
    assert "That is made of 911 clips of other words, which computed voices say." in card("stream", source=computed)


def test_words_can_be_read_in_the_card_in_any_script(card):
    assert 'words: ["кофе", "咖啡", "don\'t"]' in card(words=("кофе", "咖啡", "don't"))


def test_synthetic_voices_are_said_to_be_so_at_the_top_and_among_the_limits(card):
    assert "ynthetic" not in card().partition("```yaml")[0]
    text = card(source=replace(SOURCE, synthetic=True, test_synthetic=True))
    head = text.partition("\n## ")[0]
    assert "> **Trained on synthetic voices.**" in head
    assert "> **Tested on synthetic voices.** No figure below shows how well the model recognises people." in head
    assert "12,345 clips of 678 synthetic voices" in text
    assert "- Synthetic voices vary far less than people" in text


def test_a_test_data_set_of_its_own_is_told_with_its_licence(card):
    text = card(source=replace(SOURCE, synthetic=True, test=TEST_ARCHIVE), test_dataset="mine")
    assert (
        "| training | speech_commands | https://example.org/words.tar.gz | CC BY 4.0 | `abc123` | Name the authors"
        in text
    )
    assert f"| test | mine | https://example.org/mine.zip | CC0 | `fed987` | {NOT_IN_THE_MODEL} |" in text
    assert "come from the same data set" not in text
    assert "> **Trained on synthetic voices.**" in text
    assert "**Tested on synthetic" not in text


def test_the_parameters_in_the_card_are_the_experiments_as_yaml(card, tmp_path, make_params):
    from kws.core.params import load_params

    _, _, parameters = card(seed=7, words=["no", "l'eau"]).partition("```yaml\n")
    path = tmp_path / "params.yaml"
    path.write_text(parameters.partition("```")[0])
    assert load_params(path) == make_params(seed=7, words=["no", "l'eau"], split="speaker")


def test_no_credentials_stand_in_the_card(card):
    secret = "https://me:secret@example.org/words.zip?token=secret"
    text = card(dataset=secret, test_dataset="https://secret@example.org/test.zip")
    assert "secret" not in text
    assert '\ndataset: "https://example.org/words.zip"\n' in text
    text = card(dataset="mini_speech_commands", dataset_url=secret)
    assert "secret" not in text
    assert '\ndataset_url: "https://example.org/words.zip"\n' in text


def test_no_two_empty_lines_and_no_line_ends_in_a_space(card):
    for text in (card(), card(*SECTIONS), card(source=replace(SOURCE, synthetic=True, test_synthetic=True))):
        assert "\n\n\n" not in text
        assert all(line == line.rstrip() for line in text.splitlines())
        assert text.endswith("```\n")


def test_the_committed_card_is_of_the_committed_metrics():
    path = ROOT / "models" / "README.md"
    if not path.exists():
        pytest.skip("the pipeline has not run since the card was added")
    scores = json.loads((ROOT / "metrics" / "evaluate.json").read_text())
    assert f"**Accuracy {100 * scores['accuracy']:.1f} %**" in path.read_text()


def test_the_card_tells_why_an_accuracy_is_too_high_for_new_speakers(card):
    for by_speaker, reason, split in (
        (True, "Too few people say some of the words, so that training contains", "The split is by speaker. Training"),
        (False, "The split is by clip (`split: random`), so that training contains", "by clip, at random. Training"),
    ):
        text = card("leak", by_speaker=by_speaker)
        assert f"is made from the same people, is too good for new speakers.** {reason} speakers of the test." in text
        assert split in text
    text = card()
    assert "too high for new speakers" not in text
    assert "The split is by speaker: nobody in the test is in training. Training has" in text


def test_the_card_tells_where_the_splits_come_from_and_where_nobody_knows_who_speaks(card):
    given = replace(SOURCE, given_splits=True)
    assert "The split is the one that the data set gives. Training has" in card(source=given)
    told = "The data set gives the splits, and training contains speakers of the test."
    assert told in card("leak", source=given, by_speaker=True)
    unnamed = card(source=replace(SOURCE, speakers="one a file"))
    assert "The split is by file. Training has" in unnamed
    assert "nobody in the test is in training" not in unnamed


def test_computed_voices_beside_people_are_told_in_the_card(card, monkeypatch):
    assert "computed voices" not in card().partition("```yaml")[0]
    computed = replace(TEST_ARCHIVE, dataset="synthetic", archive="computed.tar", sha256="c0ffee", licence=ESPEAK)
    source = replace(SOURCE, computed=computed)
    monkeypatch.setitem(FIGURES, "featurize", FIGURES["featurize"] | {"computed_train": 1234})
    text = card(source=source, computed_voices=60, dataset="speech_commands")
    head = text.partition("\n## ")[0]
    assert "60 computed voices say 1,234 of the 9,001 training clips." in head
    assert "Tested on" not in head
    row = f"| computed voices beside | synthetic | https://example.org/mine.zip | {ESPEAK} | `c0ffee` |"
    assert f"{row} {what_follows(ESPEAK)} |\n" in text
    assert "- Synthetic voices vary far less than people" in text

    mixed = {"people_clips": 903, "people_accuracy": 0.9123, "people_accuracy_low": 0.9, "people_accuracy_high": 0.93}
    mixed |= {"computed_voices_clips": 100, "computed_voices_accuracy": 0.9934}
    monkeypatch.setitem(SECTIONS, "mixed", mixed)
    head = card("mixed", source=source, computed_voices=60, dataset="speech_commands").partition("\n## ")[0]
    assert "computed voices say 100 of the 1,003 test clips." in head
    assert "On the 903 recordings of people, the accuracy is 91.2 % (90.0 to 93.0 %)." in head
    assert "On the clips of computed voices it is 99.3 %, which says little about people." in head


def test_the_card_says_with_what_training_began_and_of_which_licence_that_was(make_params, monkeypatch):
    train = FIGURES["train"] | {"pretrained": "0123456789abcdef", "pretrained_licence": "CC BY 4.0, somebody"}
    monkeypatch.setitem(FIGURES, "train", train)
    params = make_params(pretrained="/home/ada/mine.npz")
    figures = FIGURES | {"evaluate": FIGURES["evaluate"] | WORDS}
    card = model_card(params, SOURCE, figures)
    assert "Training began with the weights of `mine.npz` (SHA-256 `0123456789abcdef`…)" in card
    row = f"| a file | CC BY 4.0, somebody | `0123456789abcdef`… | {what_follows('CC BY 4.0, somebody')} |\n"
    assert f"| weights to begin with | mine.npz {row}" in card
    assert "/home" not in card
    assert "last layer alone" not in card
    monkeypatch.setitem(FIGURES, "train", train | {"head_strength": 0.1})
    card = model_card(params, SOURCE, FIGURES | {"evaluate": FIGURES["evaluate"] | WORDS})
    assert "The last layer alone was trained, a logistic regression with C = 0.1." in card


def test_the_table_of_the_data_has_a_row_for_each_thing_with_its_licence_and_what_follows(make_params, monkeypatch):
    train = FIGURES["train"] | {"pretrained": "0123456789abcdef", "pretrained_licence": f"CC BY 4.0; {ESPEAK}"}
    monkeypatch.setitem(FIGURES, "train", train)
    source = replace(SOURCE, licence=NOT_KNOWN, test=TEST_ARCHIVE, other_speech=replace(TEST_ARCHIVE, licence=ESPEAK))
    figures = FIGURES | {"evaluate": FIGURES["evaluate"] | WORDS}
    text = model_card(make_params(pretrained="kws"), source, figures)
    _, _, table = text.partition("## Data\n\n")
    head, _, *lines = table.partition("\n\n")[0].splitlines()
    assert head == "| | data set | from | licence | SHA-256 | what follows for this model |"
    rows = [line[2:-2].split(" | ") for line in lines]
    assert {len(row) for row in rows} == {6}
    assert [(row[0], row[3], row[5]) for row in rows] == [
        ("training", NOT_KNOWN, what_follows(NOT_KNOWN)),
        ("weights to begin with", f"CC BY 4.0; {ESPEAK}", f"{what_follows('CC BY 4.0')} {what_follows(ESPEAK)}"),
        ("test", "CC0", NOT_IN_THE_MODEL),
        ("other speech in the streams", ESPEAK, NOT_IN_THE_MODEL),
    ]
    assert "no legal advice" in text
