"""Which files hold sound: by how they begin; and by name, for those that are damaged."""

import re
from pathlib import Path, PurePosixPath

HEAD_BYTES = 64  # of a file, enough to know its format

# The first bytes of each format. Those that libsndfile does not read need FFmpeg (package av). Photos (HEIC, AVIF)
# begin as MP4 does.
_LIBSNDFILE = {
    "WAV": rb"RIFF.{4}WAVE|RIFX.{4}WAVE|RF64.{4}WAVE|riff\x2e\x91\xcf\x11",
    "AIFF": rb"FORM.{4}AIF[FC]",
    "CAF": rb"caff",
    "FLAC": rb"fLaC",
    "Ogg": rb"OggS",
    "MP3": rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd]",
    "AU": rb"\.snd|dns\.",
    "NIST Sphere": rb"NIST_1A",
    "VOC": rb"Creative Voice File",
}
_FFMPEG = {
    "MP4, M4A or 3GP (AAC, ALAC, AMR)": rb".{4}ftyp(?!hei|hev|avi[fs]|mif|msf)|.{4}(moov|mdat|wide)",
    "WebM or Matroska": rb"\x1aE\xdf\xa3",
    "AAC": rb"\xff[\xf0\xf1\xf8\xf9]|ADIF",
    "AMR": rb"#!AMR",
    "WMA": rb"0&\xb2u\x8ef\xcf\x11",
    "WavPack": rb"wvpk",
    "Monkey's Audio": rb"MAC ",
    "True Audio": rb"TTA[12]",
    "AVI": rb"RIFF.{4}AVI ",
    "FLV": rb"FLV\x01",
    "MPEG": rb"\x00\x00\x01\xba",
    "AC-3": rb"\x0bw",
}
_FORMATS = {name: re.compile(pattern, re.DOTALL) for name, pattern in (_LIBSNDFILE | _FFMPEG).items()}
_SUFFIXES = {
    *(".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka"),
    *(".mp3", ".mp4", ".oga", ".ogg", ".opus", ".snd", ".sph", ".tta", ".voc", ".w64", ".wav", ".wave", ".weba"),
    *(".webm", ".wma", ".wv"),
}


def sound_format(head: bytes) -> str | None:
    """The format of a file that begins with these bytes; None: it is no sound that is known here."""
    return next((name for name, pattern in _FORMATS.items() if pattern.match(head)), None)


def needs_ffmpeg(head: bytes) -> bool:
    """Whether the format is one that libsndfile does not read."""
    return sound_format(head) in _FFMPEG


def is_sound(name: str, head: bytes) -> bool:
    """Whether a file is a recording, as far as its first bytes tell. A damaged one is known by its name."""
    return sound_format(head) is not None or PurePosixPath(name).suffix.lower() in _SUFFIXES


def is_sound_file(path: Path) -> bool:
    """Whether a file on disk is a recording, as `is_sound`. One that cannot be read counts: reading it says why."""
    try:
        with path.open("rb") as file:
            return is_sound(path.name, file.read(HEAD_BYTES))
    except OSError:
        return True


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, or one that systems put beside people's files: `._x.wav`, `__MACOSX`, `.DS_Store`."""
    parts = PurePosixPath(name).parts
    in_hidden = any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts)
    return in_hidden or parts[-1] in ("Thumbs.db", "desktop.ini", "Icon\r")
