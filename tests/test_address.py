import pytest

from kws.core.address import public_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@example.org:8443/words.tar.gz?token=abc&b=1#part", "https://example.org:8443/words.tar.gz"),
        ("https://token@example.org/words.zip", "https://example.org/words.zip"),
        ("https://me:p@ss@example.org/a@b.zip", "https://example.org/a@b.zip"),
        ("http://[::1]:80/words.zip?X-Amz-Signature=1", "http://[::1]:80/words.zip"),
        ("https://example.org/words.tar.gz", "https://example.org/words.tar.gz"),
        ("file:///home/me/my%20words.tar", "my words.tar"),
        ("/home/me/my words", "my words"),
        ("/home/me/words/", "words"),
        ("~/words.tar", "words.tar"),
        ("made here, by text-to-speech", "made here, by text-to-speech"),
        ("recordings/me@home?.tar", "recordings/me@home?.tar"),
        ("synthetic", "synthetic"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_credentials_and_without_folders_of_a_machine(address, shown):
    assert public_address(address) == shown
