import pytest

from kws.recordings.archive import Contents
from kws.recordings.clips import Clip
from kws.recordings.layout import Layout, understand

WORDS = ("no", "yes")
NO_BACKGROUND = "no folder _background_noise_: computed noises stand in for background recordings"


def layout_of(*names: str, words: tuple[str, ...] = WORDS, tables: dict[str, str] | None = None) -> Layout:
    return understand(Contents({name: f"digest of {name}" for name in names}, tables or {}, {}), words)


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


def test_below_folders_of_splits_there_may_be_speakers_at_either_side_of_the_word():
    below = layout_of(*(f"{split}/{word}/{split}ann/1.wav" for split in ("train", "dev", "test") for word in WORDS))
    above = layout_of(*(f"{split}/{split}ann/{word}/1.wav" for split in ("train", "dev", "test") for word in WORDS))
    wanted = {
        (w, f"{f}ann", s) for f, s in {"train": "train", "dev": "validation", "test": "test"}.items() for w in WORDS
    }
    assert {*heard(below).values()} == {*heard(above).values()} == wanted
    assert below.remarks[0] == "layout <split>/<word>/<speaker>/<file>"
    assert above.remarks[0] == "layout <split>/<speaker>/<word>/<file>"


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


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "word;speaker\nyes;ann\n", "\0\0\n", 'an open " quote\n' * 20_000])
def test_other_tables_do_not_matter(table):
    assert layout_of("yes/1.wav", "no/1.wav", tables={"notes.csv": table}).speakers == "one a file"


def test_a_line_that_is_cut_off_in_a_table_gives_what_it_has():
    layout = layout_of(*MSWC, tables={"en_train.csv": f"{HEAD}yes/common_voice_en_1.opus\n"})
    assert heard(layout)[MSWC[0]] == ("yes", "", "train")


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


def test_nothing_is_understood_as_nothing():
    assert layout_of().clips == []
