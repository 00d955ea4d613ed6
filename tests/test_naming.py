import pytest

from kws.core.naming import by_kind, file_name, first_names


def test_the_first_names_stand_for_all():
    assert first_names(["a"]) == "a"
    assert first_names(["a", "b", "c"]) == "a, b, c"
    assert first_names(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert first_names(["a", "b", "c"], shown=1) == "a and 2 more"


def test_remarks_are_counted_by_what_stands_before_their_colon():
    remarked = [
        ("5.wav", "silent: every sample is zero"),
        ("1.wav", "clipped: 7 samples at full scale"),
        ("2.wav", "clipped: 9 samples at full scale"),
        ("3.wav", "clipped: 9 samples at full scale"),
        ("4.wav", "clipped: 9 samples at full scale"),
        ("6.wav", "no sound"),
    ]
    assert by_kind(remarked) == [
        "clipped: 4 (1.wav, 2.wav, 3.wav and 1 more)",
        "no sound: 1 (6.wav)",
        "silent: 1 (5.wav)",
    ]
    assert by_kind([]) == []


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("yes", "yes"),
        ("Hey-you_2", "Hey-you_2"),
        ("hey kitchen", "hey_kitchen"),
        ("grün", "gru00fcn"),
        ("да", "u0434u0430"),
        ("don't", "donu0027t"),
        ("\U00020bb7", "u20bb7"),
    ],
)
def test_a_file_is_named_after_its_word_in_ascii(word, name):
    assert file_name(word) == name
