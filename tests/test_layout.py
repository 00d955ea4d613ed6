import tracemalloc
from dataclasses import replace

import pytest
from conftest import contents_of

from kws.recordings.clips import Clip
from kws.recordings.layout import Layout, understand

WORDS = ("no", "yes")
NO_BACKGROUND = "no folder _background_noise_: computed noises stand in for background recordings"


def layout_of(*names: str, words: tuple[str, ...] = WORDS, tables: dict[str, str] | None = None) -> Layout:
    layout = understand(contents_of({name: f"digest of {name}" for name in names}, tables), words)
    return replace(layout, clips=list(layout.clips))


def heard(layout: Layout) -> dict[str, tuple[str, str, str]]:
    return {clip.name: (clip.word, clip.speaker, clip.split) for clip in layout.clips}


def test_a_clip_knows_its_name_word_speaker_and_content():
    layout = layout_of("yes/ann/1.wav", "no/ann/1.wav")
    assert layout.clips == [
        Clip("no/ann/1.wav", "no", "ann", "", "digest of no/ann/1.wav"),
        Clip("yes/ann/1.wav", "yes", "ann", "", "digest of yes/ann/1.wav"),
    ]
    assert layout.left_out == {}


def test_speakers_stand_before_nohash():
    layout = layout_of("yes/004ae714_nohash_1.wav", "no/004ae714_nohash_0.wav.wav", "no/0a_nohash_0.wav")
    assert [clip.speaker for clip in layout.clips] == ["004ae714", "0a", "004ae714"]
    assert layout.speakers == "file names"
    assert layout.remarks[0] == "layout <word>/<speaker>_nohash_<number>"


AROUND = ["", "mini_speech_commands/", "a/b/", "gru\u0308n/"]


@pytest.mark.parametrize("around", AROUND)
def test_speakers_are_the_folders_below_the_words(around):
    layout = layout_of(*(f"{around}{name}" for name in ("yes/ada/1.flac", "no/ada/1.mp3", "no/bob/x/1.m4a")))
    assert [(clip.word, clip.speaker) for clip in layout.clips] == [("no", "ada"), ("no", "bob"), ("yes", "ada")]
    assert layout.speakers == "folders"
    assert layout.remarks == ("layout <word>/<speaker>/<file>", NO_BACKGROUND)


@pytest.mark.parametrize("around", AROUND)
def test_speakers_are_the_folders_above_the_words(around):
    names = ["ada/yes/1.wav", "ada/no/1.wav", "bob/yes/1.wav", "bob/maybe/1.wav", "_background_noise_/tap.wav"]
    layout = layout_of(*(f"{around}{name}" for name in names))
    assert {(clip.word, clip.speaker) for clip in layout.clips if not clip.word.startswith("_")} == {
        ("yes", "ada"),
        ("no", "ada"),
        ("yes", "bob"),
        ("maybe", "bob"),
    }
    assert {clip.word for clip in layout.clips} == {"yes", "no", "maybe", "_background_noise_"}
    assert layout.speakers == "folders"
    assert layout.remarks == ("layout <speaker>/<word>/<file>",)


def test_a_speaker_who_is_called_as_a_word_does_not_turn_the_folders_round():
    layout = layout_of("yes/no/1.wav", "yes/ann/1.wav", "no/ann/1.wav")
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {("yes", "no"), ("yes", "ann"), ("no", "ann")}


@pytest.mark.parametrize("around", AROUND)
def test_folders_of_words_among_those_of_speakers_lose_nobody(around):
    speakers = [f"{around}{speaker}/{word}/1.wav" for speaker in ("ann", "bob") for word in (*WORDS, "maybe")]
    layout = layout_of(*speakers, f"{around}yes/1.wav", f"{around}no/cy/1.wav")
    assert {name.removeprefix(around): says[:2] for name, says in heard(layout).items()} == {
        **{f"{s}/{w}/1.wav": (w, s) for s in ("ann", "bob") for w in (*WORDS, "maybe")},
        "yes/1.wav": ("yes", "yes/1.wav"),
        "no/cy/1.wav": ("no", "cy"),
    }
    assert layout.remarks[:3] == (
        "layout <speaker>/<word>/<file>",
        f"2 of 8 recordings are read as <word>/… instead: {around}no/cy/1.wav, {around}yes/1.wav",
        f"1 of 8 recordings name no speaker: each counts as another one: {around}yes/1.wav",
    )


def test_folders_of_a_speaker_among_those_of_words_lose_nothing():
    layout = layout_of("yes/ann/1.wav", "no/ann/1.wav", "maybe/ann/1.wav", "yes/bob/1.wav", "cy/no/1.wav")
    assert heard(layout)["cy/no/1.wav"] == ("no", "cy", "")
    assert heard(layout)["maybe/ann/1.wav"] == ("maybe", "ann", "")
    assert "1 of 5 recordings are read as <speaker>/<word>/… instead: cy/no/1.wav" in layout.remarks


def test_between_a_speaker_and_a_word_there_may_be_other_folders():
    layout = layout_of(*(f"{speaker}/day {day}/yes/1.wav" for speaker in ("ann", "bob") for day in range(2)))
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {("yes", "ann"), ("yes", "bob")}


@pytest.mark.parametrize(
    "names",
    [
        ["Yes/ann/1.wav", "Yes/bob/1.wav"],
        ["rec/Yes/ann/1.wav", "rec/Yes/bob/1.wav"],
        ["ann/Yes/1.wav", "bob/Yes/1.wav"],
    ],
)
def test_a_word_in_another_case_is_not_taken_for_a_folder_around_it_or_a_speaker(names):
    assert {clip.word for clip in layout_of(*names, words=("yes",)).clips} == {"Yes"}


def test_a_folder_around_all_may_be_called_almost_as_a_word():
    layout = layout_of("Yes/yes/ann/1.wav", "Yes/yes/bob/1.wav", words=("yes",))
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {("yes", "ann"), ("yes", "bob")}


def test_names_of_speakers_that_are_almost_the_same_are_told():
    names = [f"yes/{speaker}/1.wav" for speaker in ("Bob", "bob", "ZOE ", "zo\u00eb", "Ann", "Anne")]
    assert (
        "speakers who may be one person each, but count as several: 'Bob' and 'bob', 'ZOE ' and 'zo\u00eb'"
        in layout_of(*names).remarks
    )
    assert not any("one person" in line for line in layout_of("yes/A.wav", "yes/a.wav").remarks)  # nobody is named


@pytest.mark.parametrize("around", AROUND)
def test_without_speakers_each_file_is_its_own_and_that_is_said(around):
    layout = layout_of(*(f"{around}{name}" for name in ("yes/1.wav", "no/1.wav", "no/2.wav")))
    assert len({clip.speaker for clip in layout.clips}) == 3
    assert layout.speakers == "one a file"
    assert layout.remarks[0] == (
        "layout <word>/<file>: each file counts as another speaker, since no name says who speaks"
    )


@pytest.mark.parametrize(
    "names",
    [
        ("computer/1.wav", "computer/2.wav"),
        ("computer/ann/1.wav", "computer/bob/1.wav"),
        ("rec/computer/1.wav", "rec/computer/2.wav"),
        ("my rec/x/computer/ann/1.wav", "my rec/x/computer/bob/1.wav"),
        ("ann/computer/1.wav", "bob/computer/1.wav"),
    ],
)
def test_one_word_alone_is_found(names):
    layout = layout_of(*names, words=("computer",))
    assert [clip.word for clip in layout.clips] == ["computer", "computer"]
    assert len({clip.speaker for clip in layout.clips}) == 2


def test_a_recording_beside_the_folders_of_words_is_left_out_and_hides_none_of_them():
    for around in ("", "rec/"):
        layout = layout_of(f"{around}yes/1.wav", f"{around}no/1.wav", f"{around}stray.wav")
        assert [clip.word for clip in layout.clips] == ["no", "yes"]
        assert layout.left_out == {f"{around}stray.wav": "it is in no folder of a word"}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "validation", "test"),
        ("training", "dev", "testing"),
        ("Train", "Val", "Test"),
        ("train", None, "test"),
        ("train", "dev", "eval"),
        ("train", "devel", "evaluation"),
        ("train", "validation", None),
    ],
)
def test_folders_of_splits_give_the_splits(around, train, validation, test):
    splits = {"train": train, "validation": validation, "test": test}
    names = {
        f"{around}{folder}/{word}/{split}{number}.wav": (word, split)
        for split, folder in splits.items()
        if folder
        for word in (*WORDS, "_unknown_")
        for number in range(2)
    }
    layout = layout_of(*names, f"{around}_background_noise_/tap.wav")
    got = {name: (word, split) for name, (word, _, split) in heard(layout).items() if word != "_background_noise_"}
    assert got == names
    assert layout.remarks[0].startswith("layout <split>/<word>/<file>: ")
    folders = sorted(f"{folder}/ is {split}" for split, folder in splits.items() if folder)
    assert layout.remarks[1] == f"splits as given: {', '.join(folders)}"


def test_recordings_beside_folders_of_splits_are_left_out_and_turn_nothing_round():
    splits = [f"{split}/{word}/1.wav" for split in ("train", "test") for word in WORDS]
    layout = layout_of(*splits, "hello/1.wav", "yes/ann/2.wav", "stray.wav", "noise/1.wav", "_unknown_/3.wav")
    assert {clip.name: clip.split for clip in layout.clips} == {
        **{name: name.split("/")[0] for name in splits},
        "_unknown_/3.wav": "",
    }
    assert layout.left_out == {
        **dict.fromkeys(["hello/1.wav", "yes/ann/2.wav", "noise/1.wav"], "not below train, validation or test"),
        "stray.wav": "it is in no folder of a word",
    }
    assert "the folder 'noise' is not used; if it is _background_noise_, rename it" in layout.remarks


def test_the_same_file_names_in_two_splits_are_no_shared_speakers():
    names = [f"{split}/{word}/{n}.wav" for split in ("train", "validation", "test") for word in WORDS for n in range(2)]
    layout = layout_of(*names)
    assert {clip.name: clip.speaker for clip in layout.clips} == {name: name for name in names}
    assert layout.speakers == "one a file"


def test_the_only_folder_that_is_called_as_a_split_is_no_speaker():
    layout = layout_of("train/yes/1.wav", "train/no/1.wav", "ann/yes/1.wav", "ann/no/1.wav")
    assert {clip.name: clip.speaker for clip in layout.clips if clip.split == ""} == {
        "train/yes/1.wav": "train/yes/1.wav",
        "train/no/1.wav": "train/no/1.wav",
        "ann/yes/1.wav": "ann",
        "ann/no/1.wav": "ann",
    }
    assert (
        "the folder 'train' is taken neither for a split, since no other split is beside it, nor for a speaker"
        in layout.remarks
    )


def test_below_folders_of_splits_there_may_be_speakers_at_either_side_of_the_word():
    below = layout_of(*(f"{split}/{word}/{split}ann/1.wav" for split in ("train", "dev", "test") for word in WORDS))
    above = layout_of(*(f"{split}/{split}ann/{word}/1.wav" for split in ("train", "dev", "test") for word in WORDS))
    wanted = {
        (w, f"{f}ann", s) for f, s in {"train": "train", "dev": "validation", "test": "test"}.items() for w in WORDS
    }
    assert {*heard(below).values()} == {*heard(above).values()} == wanted
    assert below.remarks[0] == "layout <split>/<word>/<speaker>/<file>"
    assert above.remarks[0] == "layout <split>/<speaker>/<word>/<file>"


def test_folders_of_splits_below_the_words_are_said_to_be_taken_for_speakers():
    line = "test, train are taken for speakers; folders of splits stand above the words"
    assert line in layout_of("yes/train/1.wav", "yes/test/1.wav", "no/train/1.wav").remarks
    assert len(layout_of("yes/Val/1.wav", "yes/ann/1.wav").remarks) == 2  # a person


def test_splits_with_a_word_that_is_called_as_one_of_them_are_splits():
    layout = layout_of(*(f"{s}/{w}/1.wav" for s in ("train", "test") for w in ("train", "go")), words=("train", "go"))
    assert {(clip.word, clip.split) for clip in layout.clips} == {
        (word, split) for word in ("train", "go") for split in ("train", "test")
    }


def test_other_words_that_are_called_as_splits_are_words():
    layout = layout_of("yes/1.wav", "no/1.wav", "train/1.wav", "test/1.wav")
    assert [(clip.word, clip.split) for clip in layout.clips] == [(w, "") for w in ("no", "test", "train", "yes")]


def test_words_that_are_called_as_splits_are_words():
    layout = layout_of("train/1.wav", "test/1.wav", words=("train", "test"))
    assert [(clip.word, clip.split) for clip in layout.clips] == [("test", ""), ("train", "")]


MSWC = [
    "en/clips/yes/common_voice_en_1.opus",
    "en/clips/yes/common_voice_en_2.opus",
    "en/clips/no/common_voice_en_3.opus",
]
IN_ONE = """SET,LINK,WORD,VALID,SPEAKER,GENDER
TRAIN,yes/common_voice_en_1.opus,yes,True,ann,FEMALE
DEV,yes/common_voice_en_2.opus,yes,True,bob,MALE
TEST,no/common_voice_en_3.opus,no,True,cy,MALE
TRAIN,other/common_voice_en_4.opus,other,True,cy,MALE
"""
HEAD = "LINK,WORD,VALID,SPEAKER,GENDER\n"
IN_THREE = {
    "en/en_train.csv": f"{HEAD}yes/common_voice_en_1.opus,yes,True,ann,FEMALE\n",
    "en/en_dev.csv": f"{HEAD}yes/common_voice_en_2.opus,yes,True,bob,MALE\r\n",
    "en/en_test.csv": f"{HEAD}no/common_voice_en_3.opus,no,True,cy,MALE\n",
}


@pytest.mark.parametrize("tables", [{"en/en_splits.csv": IN_ONE}, IN_THREE, {"a.csv": IN_ONE, **IN_THREE}])
def test_tables_of_mswc_say_who_speaks_and_in_which_split(tables):
    layout = layout_of(*MSWC, tables=tables)
    assert heard(layout) == {
        MSWC[0]: ("yes", "ann", "train"),
        MSWC[1]: ("yes", "bob", "validation"),
        MSWC[2]: ("no", "cy", "test"),
    }
    assert layout.speakers == "table"
    assert layout.remarks[0] == "layout <word>/<file> of MSWC, speakers and splits from its CSV files"


def test_tables_of_mswc_hold_for_recordings_that_were_converted():
    layout = layout_of(*(name.replace(".opus", ".wav") for name in MSWC), tables={"en_splits.csv": IN_ONE})
    assert [(clip.speaker, clip.split) for clip in layout.clips] == [
        ("cy", "test"),
        ("ann", "train"),
        ("bob", "validation"),
    ]
    assert "1 of 4 recordings in the CSV files are not here: other/common_voice_en_4" in layout.remarks


def test_recordings_without_a_row_are_counted_and_keep_what_their_folders_say():
    layout = layout_of(*MSWC, "en/clips/no/new.opus", tables={"en_splits.csv": IN_ONE})
    assert heard(layout)["en/clips/no/new.opus"] == ("no", "no/new.opus", "")
    assert "1 of 4 recordings have no row in the CSV files: en/clips/no/new.opus" in layout.remarks
    assert layout.speakers == "table"


def test_tables_that_name_no_recording_are_not_said_to_be_the_source():
    layout = layout_of("yes/ann/1.wav", "no/ann/1.wav", tables={"en_splits.csv": IN_ONE})
    assert layout.speakers == "folders"
    assert layout.remarks[0] == "layout <word>/<speaker>/<file>"
    assert (
        "4 of 4 recordings in the CSV files are not here: yes/common_voice_en_1, yes/common_voice_en_2, "
        "no/common_voice_en_3 and 1 more" in layout.remarks
    )


@pytest.mark.parametrize("rows", [1, 20_000])  # the csv module gives up at its limit, or at the end
def test_a_table_with_a_quote_that_is_not_closed_is_left_out(rows):
    table = HEAD + 'yes/common_voice_en_1.opus,"yes,True,ann,FEMALE\n' + "no/x.opus,no,True,ann,MALE\n" * rows
    layout = layout_of(*MSWC, tables={"en_train.csv": table, "en_test.csv": IN_THREE["en/en_test.csv"]})
    assert list(layout.left_out) == ["en_train.csv"]
    assert layout.left_out["en_train.csv"].startswith("no CSV, perhaps for a quote that is not closed: ")
    assert heard(layout)[MSWC[2]] == ("no", "cy", "test")


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "word;speaker\nyes;ann\n", "\0\0\n", 'an open " quote\n' * 20_000])
def test_other_tables_do_not_matter_and_are_told(table):
    layout = layout_of("yes/1.wav", "no/1.wav", tables={"notes.csv": table})
    assert layout.speakers == "one a file"
    assert layout.left_out == {"notes.csv": "no table of speakers (columns LINK and SPEAKER)"}


def test_a_line_that_is_cut_off_in_a_table_gives_what_it_has():
    layout = layout_of(*MSWC, tables={"en_train.csv": f"{HEAD}yes/common_voice_en_1.opus\n"})
    assert heard(layout)[MSWC[0]] == ("yes", "yes/common_voice_en_1.opus", "train")  # nobody is named


def test_words_that_are_written_in_two_ways_are_one_word():
    layout = layout_of("gru\u0308n/Zoe\u0308/1.wav", "gr\u00fcn/Zo\u00eb/2.wav", words=("gr\u00fcn",))
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {("gr\u00fcn", "Zo\u00eb")}
    assert {clip.name for clip in layout.clips} == {"gru\u0308n/Zoe\u0308/1.wav", "gr\u00fcn/Zo\u00eb/2.wav"}


def test_folders_with_a_meaning_of_their_own_are_not_taken_for_words():
    layout = layout_of("yes/1.wav", "no/1.wav", "_unknown_/1.wav", "_silence_/1.wav", "_background_noise_/1.wav")
    assert {clip.word for clip in layout.clips} == {"yes", "no", "_unknown_", "_silence_", "_background_noise_"}
    assert len(layout.remarks) == 1  # the layout


@pytest.mark.parametrize(
    ("folder", "meant"),
    [
        ("_background_noise", "_background_noise_"),
        ("background_noise", "_background_noise_"),
        ("Background Noise", "_background_noise_"),
        ("background-noises", "_background_noise_"),
        ("noise", "_background_noise_"),
        ("_unknown", "_unknown_"),
        ("unknown_", "_unknown_"),
        ("Unknown", "_unknown_"),
        ("silence", "_silence_"),
        ("_Silence_", "_silence_"),
    ],
)
def test_near_misses_of_these_names_are_said(folder, meant):
    remarks = layout_of("yes/1.wav", "no/1.wav", f"{folder}/1.wav").remarks
    how = "is not used, since its name begins with _" if folder.startswith("_") else "is taken for a word"
    assert f"the folder {folder!r} {how}; if it is {meant}, rename it" in remarks


def test_a_word_of_the_experiment_is_no_near_miss():
    assert layout_of("silence/1.wav", "yes/1.wav", words=("silence", "yes")).remarks[1:] == (NO_BACKGROUND,)


def test_other_folders_that_are_not_used_are_said():
    assert "the folder '_old' is not used, since its name begins with _" in layout_of("yes/1.wav", "_old/1.wav").remarks


def test_what_was_guessed_of_an_archives_names_is_told():
    contents = contents_of(["yes/1.wav"], remarks=("names in the zip are not UTF-8",))
    assert understand(contents, ["yes"]).remarks[-1] == "names in the zip are not UTF-8"


def test_nothing_is_understood_as_nothing():
    assert layout_of().clips == []


HEARD = [
    "yes/heard-2026-05-31/1.flac",
    "_unknown_/heard-2026-05-31/1.flac",
    "_background_noise_/heard-2026-06-01/1.flac",
]


@pytest.mark.parametrize("recorded", [["yes/ann/1.wav", "no/bob/1.wav"], ["ann/yes/1.wav", "bob/no/1.wav"]])
def test_what_kws_listen_has_heard_is_one_household_and_turns_no_folders_round(recorded):
    more = [f"yes/heard-2026-06-01/{number}.flac" for number in range(5)]
    layout = layout_of(*recorded, *HEARD, *more)
    assert {clip.name for clip in layout.clips if clip.heard} == {*HEARD, *more}
    assert {(clip.word, clip.speaker) for clip in layout.clips if not clip.heard} == {("yes", "ann"), ("no", "bob")}
    assert {clip.word for clip in layout.clips if clip.heard} == {"yes", "_unknown_", "_background_noise_"}
    assert len({clip.speaker for clip in layout.clips if clip.heard}) == 1
    assert layout.remarks[0] == layout_of(*recorded).remarks[0]
    told = (
        "8 recordings in folders heard-… are what kws listen --keep has heard: for training alone. If people of "
        "validation or test are among those who spoke, the accuracy there is too high for new people"
    )
    assert layout.remarks[1:] == (told, NO_BACKGROUND)  # a second that was heard is no recording of the place


def test_without_other_speakers_each_file_of_people_still_is_its_own():
    layout = layout_of("yes/1.wav", "no/1.wav", *HEARD)
    assert layout.speakers == "one a file"
    assert {clip.speaker for clip in layout.clips if not clip.heard} == {"yes/1.wav", "no/1.wav"}


def test_what_was_heard_has_no_split_by_its_folder():
    layout = layout_of("train/yes/1.wav", "test/yes/2.wav", "test/yes/heard-2026-05-31/1.flac")
    assert heard(layout)["test/yes/heard-2026-05-31/1.flac"][2] == ""


def test_a_word_that_begins_as_such_a_folder_is_a_word():
    layout = layout_of("heard-of/ann/1.wav", "no/ann/1.wav", words=("heard-of", "no"))
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {("heard-of", "ann"), ("no", "ann")}


def test_such_a_folder_above_the_words_is_none():
    layout = layout_of("heard-2025/yes/ann/1.wav", "new/yes/bob/1.wav", "heard-2025/no/ann/2.wav")
    assert not [clip for clip in layout.clips if clip.heard]
    assert {(clip.word, clip.speaker) for clip in layout.clips} == {
        ("yes", "heard-2025"),
        ("yes", "new"),
        ("no", "heard-2025"),
    }


def test_what_was_heard_of_a_word_that_is_not_used_is_of_this_word_though_people_stand_above_words():
    layout = layout_of("ann/yes/1.wav", "bob/no/1.wav", "stop/heard-2026-05-31/1.flac")
    assert [(clip.word, clip.heard) for clip in layout.clips if clip.word not in ("yes", "no")] == [("stop", True)]


def test_no_table_says_who_speaks_in_what_was_heard():
    name = "yes/heard-2026-05-31/1.flac"
    layout = layout_of(
        "yes/1.wav", name, tables={"en_splits.csv": HEAD + "heard-2026-05-31/1.flac,yes,True,ann,MALE\n"}
    )
    assert [clip.heard for clip in layout.clips] == [False, True]


def peak_of(names: int) -> int:
    """The most memory that it takes to understand so many names, with rows in a CSV file, and to read the clips."""
    files = [f"w{n % 20}/{n // 60:08x}_nohash_{n % 60 // 20}" for n in range(names)]
    rows = "".join(f"{file}.opus,{file.split('/')[0]},True,{n % 50},FEMALE\n" for n, file in enumerate(files))
    contents = contents_of({f"{file}.wav": f"{n:016x}" for n, file in enumerate(files)}, {"en_splits.csv": HEAD + rows})
    del rows
    tracemalloc.start()
    layout = understand(contents, {f"w{n}" for n in range(20)})
    assert sum(1 for _ in layout.clips) == sum(layout.words.values()) == names
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_no_memory_is_taken_for_each_name_since_there_may_be_millions():
    """A CSV file is in memory while it is read: some 200 bytes a row. A name that was held would take 500 more."""
    peak_of(100)
    assert peak_of(20_000) - peak_of(2000) < 18_000 * 300
