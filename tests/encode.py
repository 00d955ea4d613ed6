"""Recordings in the formats that people have: made here, so that tests need no files of anybody."""

import io
from fractions import Fraction

import numpy as np
import soundfile

# What FFmpeg writes: container and codec, by suffix. The first ones are of phones and browsers.
OF_FFMPEG = {
    "m4a": ("ipod", "aac"),
    "alac.m4a": ("ipod", "alac"),
    "mp4": ("mp4", "aac"),
    "3gp": ("3gp", "aac"),
    "amr.3gp": ("3gp", "libopencore_amrnb"),
    "aac": ("adts", "aac"),
    "amr": ("amr", "libopencore_amrnb"),
    "webm": ("webm", "libopus"),
    "mka": ("matroska", "flac"),
    "wma": ("asf", "wmav2"),
    "wv": ("wv", "wavpack"),
    "tta": ("tta", "tta"),
    "ac3": ("ac3", "ac3"),
    "avi": ("avi", "mp3"),
    "flv": ("flv", "aac"),
}
# What libsndfile writes: format and subtype, by suffix.
OF_LIBSNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wave.wav": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aifc": ("AIFF", "FLOAT"),
    "caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "oga": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    """A sine of half the full scale: float32 (samples,)."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """A file as libsndfile writes it: float (samples,) or (samples, channels)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def by_ffmpeg(samples: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    """A file as FFmpeg writes it: float (samples,) or (samples, channels)."""
    import av

    channels = samples[:, None] if samples.ndim == 1 else samples
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(channels.T, np.float32), "fltp", "stereo" if channels.shape[1] == 2 else "mono"
    )
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout = frame.layout.name
        stream.bit_rate = 12_200 if codec == "libopencore_amrnb" else 128_000
        stream.codec_context.open()
        resampler = av.AudioResampler(stream.format, frame.layout, rate, stream.codec_context.frame_size or 1024)
        for source in (frame, None):
            for part in resampler.resample(source):
                output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def sound_file(kind: str, samples: np.ndarray, rate: int) -> bytes:
    """A file of a kind of OF_FFMPEG or OF_LIBSNDFILE."""
    if kind in OF_FFMPEG:
        return by_ffmpeg(samples, rate, *OF_FFMPEG[kind])
    return encoded(samples, rate, *OF_LIBSNDFILE[kind])
