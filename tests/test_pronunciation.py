"""What eSpeak NG makes of words, and the languages that it has."""

import pytest

from kws.core.errors import UserError
from kws.download.voices import espeak, pronunciation


def check(language: str, *words: str) -> list[str]:
    return pronunciation.check(words, espeak.accents_of(language), clip_seconds=1)


@pytest.mark.parametrize(
    ("language", "accents"),
    [
        ("de", ["de"]),
        ("fr", ["fr", "fr-be", "fr-ch"]),
        ("fr-ch", ["fr-ch"]),
        ("pt", ["pt", "pt-br"]),
        ("pt-BR", ["pt-br"]),
        ("en-us", ["en-us", "en-us-nyc"]),
        ("zh", ["cmn"]),  # and not Cantonese, nor Pinyin
        ("cmn", ["cmn"]),
        ("cmn-latn-pinyin", ["cmn-latn-pinyin"]),
        ("no", ["nb"]),
        ("ru", ["ru", "ru-cl", "ru-lv"]),
    ],
)
def test_the_accents_of_a_language_are_its_voices(language, accents):
    assert espeak.accents_of(language) == accents


@pytest.mark.parametrize(
    ("language", "hint"),
    [
        ("german", "; perhaps de (German);"),
        ("chinese", "; perhaps cmn (Chinese (Mandarin, latin as English)) or yue (Chinese (Cantonese));"),
        ("qqq", "'qqq'; "),
    ],
)
def test_a_language_that_espeak_does_not_have_is_refused_in_a_line_that_lists_those_it_has(language, hint):
    with pytest.raises(UserError) as error:
        espeak.accents_of(language)
    assert str(error.value).startswith(f"language: eSpeak NG has no {language!r}")
    assert hint in str(error.value)
    assert "its languages are af, am, an, " in str(error.value)
    assert "\n" not in str(error.value)


def test_every_voice_of_every_language_exists():
    names = [name for name in espeak._voice_files() if espeak.accents_of(name)]
    assert len(names) > 100
    assert len(espeak.read([("a", name) for name in names])) == len(names)  # it raises for a voice that is not there


@pytest.mark.parametrize(
    ("language", "word", "advice"),
    [
        ("en", "咖啡", "set language=cmn, or another that is written so"),
        ("en", "水", "set language=cmn"),
        ("en", "кофе", "set language=ru"),
        ("de", "кофе", "set language=ru"),
        ("en", "καφές", "set language=el"),
        ("en", "قهوة", "set language=ar"),
        ("en", "קפה", "set language=he"),
        ("en", "กาแฟ", "set language=th"),
        ("en", "コーヒー", "set language=ja"),
        ("en", "はい", "set language=ja"),
        ("en", "日本の", "set language=ja"),
        ("ru", "קפה", "set language=he"),
        ("ja", "日本", "write it in kana"),
        ("en", "lights 水", "set language=cmn"),
    ],
)
def test_a_word_whose_letters_are_only_named_is_refused(language, word, advice):
    with pytest.raises(UserError) as error:
        check(language, "stop", word)
    assert str(error.value).startswith(f"words: eSpeak NG cannot read {word!r} in language {language}, it only names ")
    assert advice in str(error.value)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["grün", "café", "don't", "yes", "no", "lights on"]),
        ("uk", ["кава", "так"]),
        ("bg", ["кафе", "да"]),
        ("fa", ["قهوه", "بله"]),
        ("ur", ["کافی", "ہاں"]),
        ("yue", ["咖啡", "水"]),
        ("am", ["ቡና", "አዎ"]),
        ("th", ["ใช่", "ไม่"]),
        ("es", ["papa", "papá"]),  # which differ in their stress
    ],
)
def test_words_that_are_read_as_they_are_written_need_no_remark(language, words):
    assert check(language, *words) == []


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "two", "too"),
        ("en", "hey_jarvis", "hey jarvis"),
        ("de", "Rat", "Rad"),
        ("ru", "кот", "код"),
        ("fr", "eau", "haut"),
        ("cmn", "他", "她"),
    ],
)
def test_two_words_with_the_same_sounds_are_refused_with_both_their_names(language, one, other):
    with pytest.raises(UserError, match=rf"^words: eSpeak NG says '{one}' and '{other}' \(.+\) in the same way; take "):
        check(language, one, other)


def test_words_that_sound_the_same_in_some_accents_are_named():
    accents = ["en-gb-scotland", "en-us"]
    [line] = pronunciation.check(["two", "to"], accents, clip_seconds=1)
    assert line == "These sound the same in some accents: two and to (en-us)"


def test_words_that_are_spelled_or_of_another_language_are_named():
    spelled = "eSpeak NG spells these; if people do not, write them as they are spoken: "
    assert check("en-us", "tv", "go", "wifi", "a ok") == [f"{spelled}tv, a ok"]
    assert check("ru", "тв", "да", "stop") == [
        f"{spelled}тв",
        "eSpeak NG reads these as words of another language: stop (en)",
    ]


def test_a_word_that_takes_longer_than_a_clip_allows_is_named():
    [line] = check("en-us", "yes", "turn on the lights")
    start = "These take longer than clip_seconds, 1, at the usual pace, and are spoken faster: turn on the lights (1."
    assert line.startswith(start)


def test_an_underscore_is_a_space():
    assert pronunciation.text_of("hey_jarvis") == "hey jarvis"


def test_all_words_with_the_same_sounds_are_named_at_once():
    with pytest.raises(UserError) as refused:
        check("en-us", "two", "red", "sun", "too", "read", "son")
    message = str(refused.value)
    assert [pair in message for pair in ("'two' and 'too'", "'sun' and 'son'")] == [True, True]


def test_only_words_with_equal_sounds_are_compared_with_each_other(monkeypatch):
    """With a thousand words there are half a million pairs, in each accent."""
    words = [f"word{number}" for number in range(1000)] + ["same", "alike"]
    readings = {(word, accent): f"{word}" for word in words for accent in ("a", "b")}
    readings |= {("same", "a"): "s", ("alike", "a"): "s"}
    compared = []
    alike = pronunciation._sound_same
    monkeypatch.setattr(pronunciation, "_sound_same", lambda *pair: compared.append(pair) or alike(*pair))
    assert pronunciation._refuse_same({word: word for word in words}, ["a", "b"], readings) == ["same and alike (a)"]
    assert compared == [("s", "s")]


def test_lines_on_many_words_are_bounded():
    [line] = pronunciation.check([f"tv {number}" for number in range(10, 60)], ["en-us"], clip_seconds=9)
    assert line.endswith("tv 48, tv 49 and 10 more")
