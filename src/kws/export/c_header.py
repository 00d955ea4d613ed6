"""A trained network as a C header, for devices without a file system: model, words, and the front end's tables."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.export.flatbuffer import operators
from kws.spotting.detect import Timing
from kws.spotting.litert import KINDS, read_about

_TEMPLATE = """\
/* A keyword spotter, written by the export stage of kws. In C and C++.
 *
 * A clip of KWS_CLIP_SAMPLES samples at KWS_SAMPLE_RATE Hz, full scale = 1, becomes KWS_FRAMES frames, one each
 * KWS_HOP_LENGTH samples. Each is multiplied by kws_window, padded with zeros to KWS_FFT_LENGTH and transformed; the
 * squared magnitudes are weighted by the Mel filters, KWS_LOG_OFFSET is added, the logarithm taken: KWS_FRAMES times
 * KWS_MEL_BINS floats. The model takes KWS_INPUT_FRAMES of these frames: {takes}. Its output is a
 * float, a probability, for each of KWS_CLASSES. The network in between has 8 bits.
 */
#ifndef KWS_MODEL_H
#define KWS_MODEL_H

#ifdef __cplusplus
#define KWS_ALIGNED alignas(16)
#else
#define KWS_ALIGNED _Alignas(16)
#endif

{constants}

static const char *const kws_classes[KWS_CLASSES] = {{
{classes}
}};

static const float kws_window[KWS_FRAME_LENGTH] = {{
{window}
}};

/* Mel filter number i is the sum over j < kws_mel_count[i] of weight times power in FFT bin kws_mel_first[i] + j; the
 * weights of all filters stand one after the other. */
static const unsigned short kws_mel_first[KWS_MEL_BINS] = {{
{first}
}};
static const unsigned short kws_mel_count[KWS_MEL_BINS] = {{
{count}
}};
static const float kws_mel_weights[{weights_number}] = {{
{weights}
}};

/* {file} */
static const unsigned int kws_model_bytes = {model_bytes};
KWS_ALIGNED static const unsigned char kws_model[{model_bytes}] = {{
{model}
}};

#endif
"""


def header(model: bytes, front_end: FrontEnd) -> str:
    """The header.

    Args:
        model: a LiteRT file that takes features, of a clip or step by step.
        front_end: that computes them.
    """
    about = read_about(model)
    takes = "a whole clip" if about["kind"] == "features" else "the newest ones, since it keeps a state"
    used = [np.flatnonzero(weights) for weights in front_end.weights.T]
    weights = [front_end.weights[bins[0] : bins[-1] + 1, number] for number, bins in enumerate(used)]
    return _TEMPLATE.format(
        takes=takes,
        file=KINDS[about["kind"]],
        constants="\n".join(f"#define KWS_{name.upper()} {value}" for name, value in _constants(about).items())
        + f"\n#define KWS_STATES {operators(model)['VAR_HANDLE']}  /* of the model */",
        classes=",\n".join(f'    "{_escaped(name)}"' for name in about["classes"]),
        window=_lines(map(_float, front_end.window)),
        first=_lines(str(bins[0]) for bins in used),
        count=_lines(str(len(part)) for part in weights),
        weights_number=sum(map(len, weights)),
        weights=_lines(_float(weight) for part in weights for weight in part),
        model_bytes=len(model),
        model=_lines(map(str, model)),
    )


def _constants(about: dict[str, Any]) -> dict[str, Any]:
    spec = about["front_end"]
    lengths = ("sample_rate", "clip_samples", "frame_length", "hop_length", "fft_length", "frames", "mel_bins")
    timing = Timing.of(spec["clip_samples"], spec["hop_length"])
    return {name: spec[name] for name in lengths} | {
        "log_offset": _float(spec["log_offset"]),
        "classes": len(about["classes"]),
        "threshold": _float(about["threshold"]),
        **{
            f"threshold_{name}": _float(level["threshold"])
            for name, level in about["sensitivities"].items()
            if name != "balanced"  # that is the one above
        },
        "input_frames": f"{about.get('step_frames', spec['frames'])}  /* that the model takes at a time */",
        "step_frames": f"{timing.step_frames}  /* from one window of a stream to the next */",
        "held": f"{timing.held}  /* newest windows: the lowest probability of a word over them is its score */",
        "apart": f"{timing.apart}  /* windows from one detection to the next, at least */",
    }


def _float(value: float) -> str:
    """A literal that is read back as the same float32."""
    return f"{np.float32(value):.9e}f"


def _escaped(name: str) -> str:
    return "".join(chr(byte) if byte < 0x80 else f"\\{byte:03o}" for byte in name.encode())


def _lines(values: Iterable[str], width: int = 116) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([*lines, line])
