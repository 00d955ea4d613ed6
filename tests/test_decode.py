import io
import os
import re
import struct
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from encode import OF_FFMPEG, OF_LIBSNDFILE, encoded, sound_file, tone

from kws.audio import decode
from kws.audio.decode import UnusableClipError, decode_recording, read_blocks


def samples_of(data: bytes, rate: int, **options) -> np.ndarray:
    return decode_recording(data, rate, **options).samples


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
    clip = samples_of(encoded(tone(16_000), 16_000, kind, subtype), 16_000)
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[2000:14_000], tone(16_000)[2000:14_000], atol=close)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_well(rate):
    clip = samples_of(encoded(tone(rate), rate, subtype="FLOAT"), 16_000)
    assert len(clip) == 16_000
    np.testing.assert_allclose(clip[1000:-1000], tone(16_000)[1000:-1000], atol=1e-3)


def test_resampling_leaves_no_alias_of_what_the_new_rate_cannot_hold():
    clip = samples_of(encoded(tone(44_100, hz=12_000), 44_100, subtype="FLOAT"), 16_000)
    assert np.abs(clip[1000:-1000]).max() < 1e-4


def test_channels_are_averaged():
    stereo = np.stack([tone(16_000), np.zeros(16_000, np.float32)], axis=1)
    np.testing.assert_allclose(samples_of(encoded(stereo, 16_000, subtype="FLOAT"), 16_000), tone(16_000) / 2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text, not a recording", "not audio"),
        (encoded(tone(16_000), 16_000)[:20], "not audio"),
        (encoded(np.zeros(0, np.float32), 16_000), "no samples"),
        (encoded(np.zeros(16_000, np.float32), 16_000), "silent: every sample is zero"),
        (encoded(tone(1000, 601, 100), 1000), "longer than 600 s"),
        (encoded(tone(500), 500), "a sample rate of 500 Hz"),
        (encoded(np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT"), "samples that are not numbers"),
    ],
)
def test_an_unusable_clip_is_refused_with_its_reason(data, reason):
    with pytest.raises(UnusableClipError, match=reason):
        decode_recording(data, 16_000)


def test_a_recording_as_long_as_allowed_is_read_and_a_longer_one_refused():
    minute_and_a_second = encoded(tone(8000, 61), 8000)
    assert len(samples_of(minute_and_a_second, 8000, longest_seconds=61)) == 61 * 8000
    with pytest.raises(UnusableClipError, match=r"^longer than 2 s$"):
        samples_of(encoded(tone(8000, 2.001), 8000), 8000, longest_seconds=2)


def test_a_clip_cut_off_in_its_samples_gives_what_is_there():
    assert len(samples_of(encoded(tone(16_000), 16_000)[:16_044], 16_000)) == 8000


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_file_in_blocks_is_the_sound_that_it_is_in_one_piece(tmp_path, monkeypatch, rate, kind):
    stereo = np.stack([tone(rate, 2.6), tone(rate, 2.6, 1000.0)], axis=1)
    path = tmp_path / "sound"
    path.write_bytes(encoded(stereo, rate, kind))
    blocks = list(read_blocks(path, 16_000))
    assert all(block.dtype == np.float32 for block in blocks)
    assert max(map(len, blocks)) <= 17_000  # a second, and what the resampler held back
    whole = samples_of(path.read_bytes(), 16_000)
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
    np.testing.assert_array_equal(samples_of(data, rate), wanted)
    assert data[12:16] == b"fmt "
    longer = data[:12] + b"LIST\4\0\0\0abcd" + data[12:]
    np.testing.assert_array_equal(samples_of(longer, rate), wanted)
    followed = data + b"LIST\4\0\0\0abcd"
    np.testing.assert_array_equal(samples_of(followed, rate), wanted)


def chirp(rate: int, seconds: float = 1.0) -> np.ndarray:
    """A tone that rises from 200 to 2000 Hz: it is itself at one place only."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 900 * time / seconds) * time)).astype(np.float32)


@pytest.mark.parametrize("kind", [*OF_FFMPEG, *OF_LIBSNDFILE])
def test_what_phones_browsers_and_computers_record_is_read_by_its_content(kind):
    rate = 8000 if "amr" in kind else 48_000
    mono = chirp(rate)
    data = sound_file(kind, mono if "amr" in kind else np.stack([mono, mono], axis=1), rate)
    heard, wanted = decode_recording(data, 16_000), chirp(16_000)
    assert heard.samples.dtype == np.float32
    assert heard.remarks == ()
    assert len(heard.samples) == pytest.approx(16_000, rel=0.08)  # frames, and what encoders put before
    likeness = np.correlate(np.pad(heard.samples, 1600), wanted[1600:14_400], "valid")
    delay = int(likeness.argmax()) - 3200
    assert -700 <= delay <= 1200
    stretch = heard.samples[1600 + delay :][:12_800]
    assert np.linalg.norm(stretch) == pytest.approx(np.linalg.norm(wanted[1600:14_400]), rel=0.15)
    assert likeness.max() / np.linalg.norm(stretch) / np.linalg.norm(wanted[1600:14_400]) > 0.95
    blocks = list(read_blocks(io.BytesIO(data), 16_000))
    np.testing.assert_allclose(np.concatenate(blocks)[: len(heard.samples)], heard.samples, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("m4a", "MP4, M4A or 3GP (AAC, ALAC, AMR)"),
        ("3gp", "MP4, M4A or 3GP (AAC, ALAC, AMR)"),
        ("webm", "WebM or Matroska"),
        ("aac", "AAC"),
        ("amr", "AMR"),
        ("wma", "WMA"),
        ("wv", "WavPack"),
    ],
)
def test_without_ffmpeg_one_line_names_the_format_and_what_to_install(monkeypatch, kind, named):
    data = sound_file(kind, chirp(8000), 8000)
    monkeypatch.setitem(sys.modules, "av", None)
    for decode_it in (lambda: decode_recording(data, 16_000), lambda: list(read_blocks(io.BytesIO(data), 16_000))):
        with pytest.raises(UnusableClipError) as refused:
            decode_it()
        assert str(refused.value) == f"{named} needs the package av: pip install 'kws[media]'"


@pytest.mark.parametrize("kind", OF_LIBSNDFILE)
def test_without_ffmpeg_what_libsndfile_reads_is_read(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(samples_of(sound_file(kind, chirp(16_000), 16_000), 16_000)) == pytest.approx(16_000, rel=0.1)


def test_without_ffmpeg_what_is_no_sound_is_said_to_be_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnusableClipError, match=r"^not audio: "):
        decode_recording(b"this is a text, not a recording", 16_000)


def test_a_playlist_opens_no_other_file(tmp_path):
    (tmp_path / "secret.wav").write_bytes(encoded(tone(16_000), 16_000))
    for text in (
        f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n",
    ):
        with pytest.raises(UnusableClipError, match=r"^not audio: "):
            decode_recording(text.encode(), 16_000)


WRONG_HEADER = "wrong header: read to the end of the file"
WAV = encoded(chirp(16_000), 16_000, subtype="PCM_16")
STEREO_24 = encoded(np.stack([chirp(16_000)] * 2, axis=1), 16_000, "WAV", "PCM_24")


def changed(data: bytes, place: int, value: int, layout: str = "<I") -> bytes:
    content = bytearray(data)
    struct.pack_into(layout, content, place, value)
    return bytes(content)


def with_chunk(wav: bytes, chunk: bytes) -> bytes:
    """The WAV with a chunk between its format and its samples."""
    place = wav.index(b"data")
    return wav[:place] + chunk + wav[place:]


@pytest.mark.parametrize("wav", [WAV, STEREO_24], ids=["16 bits", "24 bits, stereo"])
@pytest.mark.parametrize(
    "lie",
    [
        lambda wav: changed(wav, wav.index(b"data") + 4, 0),  # as programs write into pipes
        lambda wav: changed(wav, wav.index(b"data") + 4, 0xFFFFFFFF),
        lambda wav: changed(wav, wav.index(b"data") + 4, 0x7FFFFFFF),
        lambda wav: changed(wav, wav.index(b"data") + 4, 10_000_000),
        lambda wav: changed(wav, 4, 0),
        lambda wav: changed(wav, 4, 0xFFFFFFFF),
        lambda wav: changed(changed(wav, wav.index(b"data") + 4, 0xFFFFFFFF), 4, 0xFFFFFFFF),
        lambda wav: changed(wav, 28, 0),  # bytes a second
        lambda wav: changed(wav, 32, 0, "<H"),  # bytes a sample
        lambda wav: with_chunk(wav, b"LIST\5\0\0\0abcde"),  # odd, without the byte that fills it up
        lambda wav: with_chunk(wav, b"LIST\5\0\0\0abcde\0"),
        lambda wav: with_chunk(wav, b"LIST\xff\xff\0\0abcd"),
        lambda wav: with_chunk(wav, b"LIST\xff\xff\xff\xffabcd"),
        lambda wav: wav + b"LIST\4\0\0\0abcd",
        lambda wav: wav + b"\1\2\3",
    ],
)
def test_a_wav_whose_header_lies_is_read_to_its_end(wav, lie):
    for heard in (samples_of(lie(wav), 16_000), np.concatenate(list(read_blocks(io.BytesIO(lie(wav)), 16_000)))):
        assert len(heard) == 16_000
        np.testing.assert_allclose(heard, chirp(16_000), atol=1e-4)


def test_a_wav_of_size_0_says_that_its_header_is_wrong():
    sound = decode_recording(changed(WAV, WAV.index(b"data") + 4, 0), 16_000)
    assert sound.remarks == (WRONG_HEADER,)


def blocks_of(data: bytes, **options) -> tuple[np.ndarray, list[str]]:
    """The samples and the remarks of a file that is read in blocks."""
    remarks: list[str] = []
    return np.concatenate(list(read_blocks(io.BytesIO(data), 16_000, remarks, **options))), remarks


@pytest.mark.parametrize("wav", [WAV, STEREO_24], ids=["16 bits", "24 bits, stereo"])
@pytest.mark.parametrize("size", [2, 2046, 8001])
def test_a_wav_of_a_recorder_that_died_before_it_wrote_the_size_is_read_to_its_end(wav, size):
    early = changed(changed(wav, wav.index(b"data") + 4, size), 4, size + 36)
    sound = decode_recording(early, 16_000)
    heard, remarks = blocks_of(early)
    np.testing.assert_allclose(sound.samples, chirp(16_000), atol=1e-4)
    np.testing.assert_allclose(heard, chirp(16_000), atol=1e-4)
    assert list(sound.remarks) == remarks == [WRONG_HEADER]


@pytest.mark.parametrize("chunk", [b"LIST\4\0\0\0abcd", b"id3 \xff\xff\0\0abcd", b"PAD \0\0\0\0", b"abcdefgh"])
@pytest.mark.parametrize("samples", [15_999, 16_000])
def test_a_chunk_behind_the_samples_is_none_of_them(chunk, samples):
    for wav in (WAV, encoded(chirp(16_000)[:samples], 16_000, "WAV", "PCM_24")):  # with an odd number of bytes, too
        whole = decode_recording(wav, 16_000)
        for data in (wav + chunk, wav.removesuffix(b"\0") + chunk):
            sound = decode_recording(data, 16_000)
            assert WRONG_HEADER not in sound.remarks
            assert len(sound.samples) == len(whole.samples)


def test_zeros_in_place_of_chunks_are_not_read_one_by_one(monkeypatch):
    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            Counted.reads += 1
            return super().read(size)

    for decoder in ("_by_libsndfile", "_by_ffmpeg"):
        monkeypatch.setattr(decode, decoder, lambda _: iter(()))
    with pytest.raises(UnusableClipError):
        list(read_blocks(Counted(WAV[:12] + bytes(2**16)), 16_000))
    assert Counted.reads < 10


def test_a_wav_with_a_wrong_header_is_read_in_blocks(tmp_path):
    lying = changed(WAV, WAV.index(b"data") + 4, 0)
    (tmp_path / "long.wav").write_bytes(lying + bytes(2**25))
    tracemalloc.start()
    heard = sum(map(len, read_blocks(tmp_path / "long.wav", 16_000)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert heard == 16_000 + 2**24
    assert most < 2**23


def test_a_wav_with_a_wrong_header_and_more_bytes_than_a_header_can_tell_is_refused(tmp_path):
    with (tmp_path / "long.wav").open("wb") as file:
        file.write(changed(WAV, WAV.index(b"data") + 4, 2000))
        file.truncate(2**32 + 2**20)
    with pytest.raises(
        UnusableClipError, match=r"^a WAV with a wrong header, and more than 4,294,966,272 bytes of samp"
    ):
        next(read_blocks(tmp_path / "long.wav", 16_000))


def test_what_is_said_of_a_file_in_blocks_is_what_is_said_of_it_in_one_piece():
    inverted = np.stack([chirp(16_000, 3), -0.95 * chirp(16_000, 3)], axis=1)
    for data in (
        encoded(inverted, 16_000),
        encoded(20_000 * chirp(16_000, 3), 16_000, "WAV", "FLOAT"),
        encoded(np.clip(4 * tone(16_000, 3), -1, 1), 16_000),
        WAV[: len(WAV) // 2],
    ):
        sound = decode_recording(data, 16_000)
        heard, remarks = blocks_of(data)
        assert remarks == list(sound.remarks) != []
        np.testing.assert_allclose(heard, sound.samples, atol=1e-4)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("level", [0.0, 0.02])
def test_a_silent_file_in_blocks_is_refused_at_its_end_where_that_is_asked_for(rate, level):
    silent = encoded(np.full(3 * rate, level), rate, "WAV", "FLOAT")
    assert len(blocks_of(silent)[0]) == 48_000
    with pytest.raises(UnusableClipError) as refused:
        decode_recording(silent, 16_000)
    with pytest.raises(UnusableClipError) as also:
        blocks_of(silent, may_be_silent=False)
    assert str(also.value) == str(refused.value)
    late = np.concatenate([np.full(2 * rate, level), level + 0.1 * tone(rate)])
    assert len(blocks_of(encoded(late, rate), may_be_silent=False)[0]) == 48_000


def test_a_film_without_sound_is_said_to_have_none():
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    with pytest.raises(UnusableClipError, match=r"^no sound in it$"):
        decode_recording(file.getvalue(), 16_000)


def test_a_wav_that_ends_amid_a_sample_gives_those_before_and_says_what_is_missing():
    for wav in (WAV, STEREO_24):
        there = len(wav) // 2 + 1
        sound = decode_recording(wav[:there], 16_000)
        assert sound.remarks == (f"cut off: the header promises {len(wav) - there:,} bytes more",)
        heard = sound.samples
        assert len(heard) == pytest.approx(8000, abs=20)
        np.testing.assert_allclose(heard, chirp(16_000)[: len(heard)], atol=1e-4)


@pytest.mark.parametrize("frames", [0, 17_000, 2**36 - 1], ids=["none", "too many", "far too many"])
def test_a_flac_whose_header_lies_is_read_to_its_end(frames):
    flac = encoded(chirp(16_000), 16_000, "FLAC", "PCM_16")
    lying = flac[:21] + ((flac[21] >> 4 << 36) | frames).to_bytes(5, "big") + flac[26:]
    np.testing.assert_allclose(samples_of(lying, 16_000), chirp(16_000), atol=1e-4)


@pytest.mark.parametrize(
    ("place", "value", "layout"),
    [(b"SSND", 0, ">I"), (b"SSND", 0xFFFFFFFF, ">I"), (b"SSND", 10**7, ">I")],
)
def test_an_aiff_whose_header_lies_is_read_to_its_end(place, value, layout):
    aiff = encoded(chirp(16_000), 16_000, "AIFF", "PCM_16")
    heard = samples_of(changed(aiff, aiff.index(place) + 4, value, layout), 16_000)
    np.testing.assert_allclose(heard, chirp(16_000), atol=1e-4)


@pytest.mark.parametrize(
    ("wav", "reason"),
    [
        (changed(WAV, 22, 0, "<H"), "not audio: "),  # channels
        (changed(WAV, 24, 0), "not audio: "),  # rate
        (changed(WAV, 24, 2_000_000), "a sample rate of 2000000 Hz"),
        (changed(WAV, 34, 0, "<H"), "not audio: "),  # bits
        (changed(WAV, 16, 0), "not audio: "),  # size of the format
        (encoded(np.zeros((10, 65)), 16_000), "65 channels, more than 64"),
    ],
)
def test_a_header_that_leaves_no_sense_is_a_reason(wav, reason):
    with pytest.raises(UnusableClipError, match=f"^{reason}"):
        decode_recording(wav, 16_000)


@pytest.mark.parametrize("kind", ["flac", "aac", "amr"])
def test_damage_amid_a_file_says_where_it_is_and_nothing_is_heard_twice(kind):
    rate = 8000 if kind == "amr" else 16_000
    data = sound_file(kind, chirp(rate, 6), rate)
    cut = data[: len(data) * 2 // 3 + (1 if kind == "amr" else 0)]
    with pytest.raises(UnusableClipError, match=r"^damaged: after [34]\.\d s, "):
        decode_recording(cut, rate)
    heard = []
    with pytest.raises(UnusableClipError, match=r"^damaged: after [34]\.\d s, "):  # noqa: PT012
        for block in read_blocks(io.BytesIO(cut), rate):
            heard.append(len(block))  # noqa: PERF401 (what came before the error counts)
    assert 3 * rate < sum(heard) < 4.5 * rate


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 1), (16_000, 2)])
def test_a_rate_or_channels_that_change_amid_a_file_are_a_reason(rate, channels):
    first = sound_file("aac", chirp(16_000), 16_000)
    assert len(samples_of(first * 2, 16_000)) > 32_000  # AAC has no header but that of each frame
    second = sound_file("aac", np.stack([chirp(rate)] * channels, axis=1), rate)
    for decode_it in (
        lambda: decode_recording(first + second, 16_000),
        lambda: list(read_blocks(io.BytesIO(first + second), 16_000)),
    ):
        with pytest.raises(UnusableClipError) as refused:
            decode_it()
        assert re.sub(r"1\.\d", "1", str(refused.value)) == (
            "damaged: after 1 s, the sample rate or the number of channels changes"
        )


@pytest.mark.parametrize("channels", [6, 9, 16, 26])
def test_more_channels_than_a_decoder_has_planes_are_mixed(channels):
    """PyAV crashes where it is asked for the planes of frames with more than 8 of them."""
    samples = np.stack([chirp(16_000)] * channels, axis=1)
    for kind in ("WAV", "CAF"):
        sound = encoded(samples, 16_000, kind)
        np.testing.assert_allclose(samples_of(sound, 16_000), chirp(16_000), atol=1e-4)
        ffmpeg = np.concatenate([part for _, part in decode._by_ffmpeg(io.BytesIO(sound))])
        np.testing.assert_allclose(ffmpeg, samples, atol=1e-4)


def test_many_channels_and_high_rates_have_bounded_memory(monkeypatch):
    monkeypatch.setattr(decode, "MOST_SAMPLES", 5 * 8000 * 2)
    mono, stereo = (encoded(np.stack([tone(8000, 6)] * n, axis=1), 8000, "FLAC") for n in (1, 2))
    assert len(samples_of(mono, 8000)) == 48_000
    with pytest.raises(UnusableClipError, match=r"^longer than 5 s$"):
        decode_recording(stereo, 8000)
    sound = decode_recording(stereo, 8000, longer="cut")
    assert len(sound.samples) == 40_000
    assert sound.remarks == ("cut: only the first 5 s are used",)


def test_a_recording_that_is_too_long_is_cut_where_that_is_asked_for():
    sound = decode_recording(encoded(tone(8000, 3), 8000), 16_000, 2, longer="cut")
    assert len(sound.samples) == 32_000
    assert sound.remarks == ("cut: only the first 2 s are used",)


def test_clipped_samples_are_counted():
    loud = np.clip(4 * tone(16_000), -1, 1)
    sound = decode_recording(encoded(loud, 16_000), 16_000)
    clipped = int((np.abs(loud) >= 0.99).sum())
    assert clipped > 8000
    assert sound.remarks == (f"clipped: {clipped} samples at full scale",)
    assert decode_recording(encoded(np.clip(1.9 * tone(16_000), -1, 1), 16_000), 16_000).remarks == ()


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "webm", "aac"])
def test_a_pipe_is_read_as_a_file_is(tmp_path, kind):
    data = sound_file(kind, chirp(16_000), 16_000)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data])
    writer.start()
    heard = np.concatenate(list(read_blocks(tmp_path / "pipe", 16_000)))
    writer.join()
    wanted = samples_of(data, 16_000)
    assert len(heard) == pytest.approx(len(wanted), abs=400)
    np.testing.assert_allclose(heard[2000:14_000], wanted[2000:14_000], atol=0.02)


FIELD = ROOT.parent / "shared" / "field" / "sounds"


@pytest.mark.skipif(not FIELD.exists(), reason=f"needs the recordings in {FIELD}")
@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("aac_named.wav", ""),
        ("browser.webm", ""),
        ("float_int16_range.wav", "divided by 32768: floats in the range of integers"),
        ("inverted_stereo.wav", "channel 1 of 2 alone: the channels cancel each other"),
        ("mac.aiff", ""),
        ("odd_unpadded.wav", WRONG_HEADER),
        ("phone.amr", ""),
        ("stream_zero.wav", WRONG_HEADER),
        ("voice_memo.m4a", ""),
        ("vorbis.oga", ""),
    ],
)
def test_recordings_from_the_field_sound_as_the_one_they_were_made_of(name, remark):
    base = samples_of((FIELD / "base.wav").read_bytes(), 16_000)
    sound = decode_recording((FIELD / name).read_bytes(), 16_000)
    assert "; ".join(sound.remarks) == remark
    assert np.abs(sound.samples).max() == pytest.approx(np.abs(base).max(), rel=0.1)
    likeness = np.correlate(np.pad(sound.samples, 800), base, "valid").max()
    length = np.linalg.norm(base) * np.linalg.norm(sound.samples)
    assert likeness / length > (0.85 if name == "phone.amr" else 0.97)


@pytest.mark.skipif(not FIELD.exists(), reason=f"needs the recordings in {FIELD}")
@pytest.mark.parametrize(
    ("name", "reason"),
    [("dc_only.wav", "silent: every sample is the same, 0.02"), ("zeros.wav", "silent: every sample is zero")],
)
def test_recordings_from_the_field_without_sound_are_refused(name, reason):
    with pytest.raises(UnusableClipError) as refused:
        decode_recording((FIELD / name).read_bytes(), 16_000)
    assert str(refused.value) == reason
