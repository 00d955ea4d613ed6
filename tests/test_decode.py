import io

import numpy as np
import pytest
import soundfile

from kws.audio import decode
from kws.audio.decode import UnusableClipError, decode_clip, read_blocks


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "close"),
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.05),
        ("OGG", "OPUS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_usual_format_is_read(kind, subtype, close):
    clip = decode_clip(encoded(tone(16_000), 16_000, kind, subtype), 16_000)
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[2000:14_000], tone(16_000)[2000:14_000], atol=close)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_well(rate):
    clip = decode_clip(encoded(tone(rate), rate, subtype="FLOAT"), 16_000)
    assert len(clip) == 16_000
    np.testing.assert_allclose(clip[1000:-1000], tone(16_000)[1000:-1000], atol=1e-3)


def test_resampling_leaves_no_alias_of_what_the_new_rate_cannot_hold():
    clip = decode_clip(encoded(tone(44_100, hz=12_000), 44_100, subtype="FLOAT"), 16_000)
    assert np.abs(clip[1000:-1000]).max() < 1e-4


def test_channels_are_averaged():
    stereo = np.stack([tone(16_000), np.zeros(16_000, np.float32)], axis=1)
    np.testing.assert_allclose(decode_clip(encoded(stereo, 16_000, subtype="FLOAT"), 16_000), tone(16_000) / 2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text, not a recording", "not audio"),
        (encoded(tone(16_000), 16_000)[:20], "not audio"),
        (encoded(np.zeros(0, np.float32), 16_000), "no samples"),
        (encoded(np.zeros(16_000, np.float32), 16_000), "silent: every sample is zero"),
        (encoded(tone(8000, 61), 8000), "longer than 60 s"),
        (encoded(tone(500), 500), "a sample rate of 500 Hz"),
        (encoded(np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT"), "samples that are not numbers"),
    ],
)
def test_an_unusable_clip_is_refused_with_its_reason(data, reason):
    with pytest.raises(UnusableClipError, match=reason):
        decode_clip(data, 16_000)


def test_a_recording_as_long_as_allowed_is_read_and_a_longer_one_refused():
    minute_and_a_second = encoded(tone(8000, 61), 8000)
    assert len(decode_clip(minute_and_a_second, 8000, longest_seconds=61)) == 61 * 8000
    with pytest.raises(UnusableClipError, match=r"^longer than 2 s$"):
        decode_clip(encoded(tone(8000, 2.001), 8000), 8000, longest_seconds=2)


def test_a_clip_cut_off_in_its_samples_gives_what_is_there():
    assert len(decode_clip(encoded(tone(16_000), 16_000)[:16_044], 16_000)) == 8000


def test_the_length_in_a_header_is_not_believed():
    flac = bytearray(encoded(tone(16_000), 16_000, "FLAC"))
    flac[21] |= 0x0F  # the upper four of the 36 bits that hold the number of samples
    with pytest.raises(UnusableClipError, match="not audio"):
        decode_clip(bytes(flac), 16_000)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_file_in_blocks_is_the_sound_that_it_is_in_one_piece(tmp_path, monkeypatch, rate, kind):
    stereo = np.stack([tone(rate, 2.6), tone(rate, 2.6, 1000.0)], axis=1)
    path = tmp_path / "sound"
    path.write_bytes(encoded(stereo, rate, kind))
    blocks = list(read_blocks(path, 16_000))
    assert all(block.dtype == np.float32 for block in blocks)
    assert max(map(len, blocks)) <= 17_000  # a second, and what the resampler held back
    whole = decode_clip(path.read_bytes(), 16_000)
    joined = np.concatenate(blocks)
    assert len(joined) == pytest.approx(len(whole), abs=1)
    np.testing.assert_allclose(joined[: len(whole)], whole[: len(joined)], atol=1e-4)
    monkeypatch.setattr(decode, "BLOCK_SECONDS", 2)
    assert len(list(read_blocks(path, 16_000))) < len(blocks)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"a text, no sound", "not audio: "),
        (encoded(np.zeros(0), 16_000), "no samples"),
        (encoded(np.full(10, np.nan), 16_000, subtype="FLOAT"), "samples that are not numbers"),
        (encoded(np.ones(10), 999), "a sample rate of 999 Hz"),
    ],
)
def test_a_file_that_holds_no_sound_says_why(tmp_path, data, reason):
    (tmp_path / "sound.wav").write_bytes(data)
    with pytest.raises(UnusableClipError, match=f"^{reason}"):
        list(read_blocks(tmp_path / "sound.wav", 16_000))


def test_a_file_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(UnusableClipError, match=r"^No such file or directory$"):
        list(read_blocks(tmp_path / "sound.wav", 16_000))
    with pytest.raises(UnusableClipError, match=r"^Is a directory$"):
        list(read_blocks(tmp_path, 16_000))


def test_digital_silence_in_blocks_is_sound(tmp_path):
    (tmp_path / "sound.wav").write_bytes(encoded(np.zeros(20_000), 16_000))
    assert np.concatenate(list(read_blocks(tmp_path / "sound.wav", 16_000))).tolist() == [0] * 20_000


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_plain_wav_has_the_numbers_that_libsndfile_reads_and_longer_headers_are_read_too(rate):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, rate).astype(np.int16)
    samples[:2] = -(2**15), 2**15 - 1
    data = encoded(samples, rate, subtype="PCM_16")
    wanted, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(decode_clip(data, rate), wanted)
    assert data[12:16] == b"fmt "
    longer = data[:12] + b"LIST\4\0\0\0abcd" + data[12:]
    np.testing.assert_array_equal(decode_clip(longer, rate), wanted)
    followed = data + b"LIST\4\0\0\0abcd"
    np.testing.assert_array_equal(decode_clip(followed, rate), wanted)
