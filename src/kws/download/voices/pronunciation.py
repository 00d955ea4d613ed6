"""How eSpeak NG reads the words: some it spells letter by letter, for some it has no sound or the sound of another."""

import itertools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kws.core.errors import UserError
from kws.core.naming import first_names
from kws.core.parallel import map_in_order
from kws.download.voices import espeak

LISTED = 40  # words in a line, at most: there may be thousands
_TASK = 200  # texts for each process of eSpeak NG

_CHINESE = "CJK"
_SCRIPTS = {  # first word of the characters' names in Unicode: a language that reads them, and something it reads
    "ARABIC": ("ar", "نعم"),
    _CHINESE: ("cmn", "水火"),
    "CYRILLIC": ("ru", "да"),
    "ETHIOPIC": ("am", "ቡና"),
    "GREEK": ("el", "ναι"),  # noqa: RUF001 (not Latin)
    "HEBREW": ("he", "כן"),
    "HIRAGANA": ("ja", "はい"),
    "KATAKANA": ("ja", "カサ"),
    "MYANMAR": ("my", "ကော်ဖီ"),
    "ORIYA": ("or", "କଫି"),
    "TELUGU": ("te", "కాఫీ"),
    "THAI": ("th", "กาแฟ"),
}


def text_of(word: str) -> str:
    """What is to be said for a word."""
    return word.replace("_", " ")


def check(words: Sequence[str], accents: Sequence[str], clip_seconds: float) -> list[str]:
    """Checks how eSpeak NG reads the words.

    Args:
        words: as in the parameters.
        accents: voices of one language; the first one stands for the language.
        clip_seconds: length of a clip.

    Returns:
        A line for each kind of word that is not read as one would expect: spelled, of another language, hurried, or
        the same as another in some of the accents.

    Raises:
        UserError: a word has no sound, or letters that the language does not have, or the same sounds as another; all
            pairs with the same sounds are named.
    """
    language, accents = accents[0], list(dict.fromkeys(accents))
    texts = {word: text_of(word) for word in words}
    parts = {part for text in texts.values() for part in text.split()}
    in_accents = [(text, accent) for text in texts.values() for accent in accents]
    parts |= {example for _, example in _SCRIPTS.values()}
    in_language = [(text, language) for text in sorted({*parts, *"".join(parts)})]
    readings = _read(in_accents + in_language)
    sounds = {text: readings[text, language] for text, _ in in_language}
    for word in words:
        _refuse_unread(word, sounds, language)
    seconds = _seconds(texts, language)
    some_accents = _refuse_same(texts, accents, readings)

    spelled = [word for word, text in texts.items() if any(_is_abbreviation(part, sounds) for part in text.split())]
    languages = {word: _foreign(text, sounds) for word, text in texts.items() if word not in spelled}
    remarks = {
        "eSpeak NG spells these; if people do not, write them as they are spoken": spelled,
        "eSpeak NG reads these as words of another language": [
            f"{w} ({name})" for w, name in languages.items() if name
        ],
        "These sound the same in some accents": some_accents,
        f"These take longer than clip_seconds, {clip_seconds:g}, at the usual pace, and are spoken faster": [
            f"{word} ({length:.2f} s)" for word, length in seconds.items() if length > clip_seconds
        ],
    }
    return [f"{remark}: {first_names(found, LISTED)}" for remark, found in remarks.items() if found]


def bare_readings(words: Iterable[str], accents: Sequence[str]) -> dict[tuple[str, str], str]:
    """The sounds of each word without stress, in each accent, by word and accent."""
    readings = _read((text_of(word), accent) for word in words for accent in accents)
    return {(word, accent): _bare(readings[text_of(word), accent]) for word in words for accent in accents}


def _read(texts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """How each text is read by a voice, by text and voice; on all cores."""
    texts = list(texts)
    readings = map_in_order(espeak.read, texts, _TASK, os.cpu_count() or 1)
    return dict(zip(texts, itertools.chain.from_iterable(readings), strict=True))


def _refuse_unread(word: str, sounds: Mapping[str, str], language: str) -> None:
    """Refuses a word of which eSpeak NG would only name the letters, as "Chinese letter, Chinese letter"."""
    scripts = {unicodedata.name(character, "").split(" ")[0] for character in word} & set(_SCRIPTS)
    for script in sorted(scripts, reverse=True):  # kana before Chinese, which stands beside it in Japanese
        other, example = _SCRIPTS[script]
        if script == _CHINESE:
            unread = len({sounds[character] for character in example}) == 1
        else:  # the names are separate words
            unread = _is_spelled(example, sounds) and re.search(r"[ _]\S", sounds[example]) is not None
        if unread:
            advice = f"set language={other}, or another that is written so"
            if (language, script) == ("ja", _CHINESE):
                advice = "write it in kana"
            raise UserError(
                f"words: eSpeak NG cannot read {word!r} in language {language}, it only names the letters; {advice}"
            )


def _is_spelled(part: str, sounds: Mapping[str, str]) -> bool:
    """Whether a part of a text sounds like the names of its letters, one after the other."""
    names = "".join(_bare(sounds[letter]) for letter in part)
    return len(part) > 1 and _bare(sounds[part]) == names


def _is_abbreviation(part: str, sounds: Mapping[str, str]) -> bool:
    """Whether a part is spelled. Not in scripts of syllables, which have no capitals, and not vowels such as "oi"."""
    return part.lower() != part.upper() and len(_bare(sounds[part])) > len(part) and _is_spelled(part, sounds)


def _foreign(text: str, sounds: Mapping[str, str]) -> str:
    """The language to which eSpeak NG switches for a text; empty if it does not."""
    switches = [re.match(r"[_:|]*\(([\w-]+)\)", sounds[part]) for part in text.split()]
    return next((switch[1] for switch in switches if switch), "")


def _refuse_same(
    texts: Mapping[str, str], accents: Sequence[str], readings: Mapping[tuple[str, str], str]
) -> list[str]:
    """Refuses words that have the same sounds in all accents, and returns those that have them in some."""
    places = {word: place for place, word in enumerate(texts)}
    alike: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # the accents in which two words sound the same
    for accent in accents:
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for word, text in texts.items():
            groups[_bare(readings[text, accent])].append(word)
        for group in groups.values():
            for one, other in itertools.combinations(group, 2):
                if _sound_same(readings[texts[one], accent], readings[texts[other], accent]):
                    alike[one, other].add(accent)
    pairs = sorted(alike, key=lambda pair: (places[pair[0]], places[pair[1]]))
    same = [
        f"{one!r} and {other!r} ({readings[texts[one], accents[0]]})"
        for one, other in pairs
        if len(alike[one, other]) == len(accents)
    ]
    if same:
        raise UserError(
            f"words: eSpeak NG says {', '.join(same)} in the same way; take one of them, or write one as it is spoken"
        )
    return [
        f"{one} and {other} ({', '.join(accent for accent in accents if accent in alike[one, other])})"
        for one, other in pairs
    ]


def _sound_same(one: str, other: str) -> bool:
    """Whether people hear no difference. A word without stress, such as "to", is taken for one with stress, "two"."""
    stress = {_bare(reading.rpartition("'")[0]) if "'" in reading else None for reading in (one, other)}
    return _bare(one) == _bare(other) != "" and (len(stress) == 1 or None in stress)


def _bare(reading: str) -> str:
    """Sounds without stress, pauses and switches of language."""
    return re.sub(r"\([\w-]+\)|_[:|!]?|[',%=| ]", "", reading)


def _seconds(texts: Mapping[str, str], voice: str) -> dict[str, float]:
    """How long each word takes at the usual pace. Refuses words without a sound.

    No ending is added, since eSpeak NG would read the one of "'!" aloud.
    """
    plain = [espeak.Utterance(text, voice, espeak.USUAL, 50, 50, longest=60, seed=1) for text in texts.values()]
    seconds = {}
    spoken = itertools.chain.from_iterable(map_in_order(espeak.speak, plain, _TASK, os.cpu_count() or 1))
    for word, pcm in zip(texts, spoken, strict=True):
        if not any(pcm):
            raise UserError(f"words: eSpeak NG makes no sound of {word!r}; write it the way it is spoken")
        seconds[word] = len(pcm.rstrip(b"\0")) / 2 / espeak.SAMPLE_RATE
    return seconds
