"""What several networks are built of. Every layer is named, since Keras's own names depend on what was built before."""

import keras

from kws.core.errors import UserError

layers = keras.layers
MOMENTUM = 0.98  # of batch normalisation: a few thousand steps are all the training there is
PAPER_FRAMES = 98  # of one second: frames of 10 ms


def norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation."""
    return layers.BatchNormalization(momentum=MOMENTUM, name=name)(x)


def norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation, then ReLU."""
    return layers.ReLU(name=f"{name}_relu")(norm(x, f"{name}_norm"))


def normalised(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Each Mel bin with mean 0 and variance 1 over the training clips: (frames, mels, 1), the same shape again."""
    return layers.Normalization(axis=-2, name="normalization")(inputs)


def mels_as_channels(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """A sequence for convolutions over time alone: (frames, mels, 1) -> (frames, mels), normalised."""
    _, frames, mel_bins, _ = inputs.shape
    return layers.Reshape((frames, mel_bins), name="mels_as_channels")(normalised(inputs))


def channels(paper: float, width: float) -> int:
    """The paper's number of channels, times width; eight at least."""
    return max(8, round(paper * width))


def fitting_kernel(paper: int, frames: int) -> int:
    """A kernel over time for clips of so many frames, where valid convolutions must leave some of them.

    It spans the same share of a clip as in the paper, and is at most as long: the nearest odd number, 3 at least.
    """
    return max(3, 2 * round((paper * min(1, frames / PAPER_FRAMES) - 1) / 2) + 1)


def newest(x: keras.KerasTensor, frames: int, name: str) -> keras.KerasTensor:
    """The last `frames` of (frames, channels) or (frames, bands, channels)."""
    first = x.shape[1] - frames
    if first == 0:
        return x
    crop = layers.Cropping1D((first, 0), name=name) if x.ndim == 3 else layers.Cropping2D(((first, 0), 0), name=name)
    return crop(x)


def for_valid(x: keras.KerasTensor, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    """The frames for a valid convolution over time: its last output then ends at the newest frame.

    A stream has the same strides as a clip in this way, however many frames the clip has.

    Raises:
        UserError: there are fewer frames than the kernel spans.
    """
    frames = x.shape[1]
    if frames < kernel:
        raise UserError(
            f"causal: true needs clips of more frames: layer {name} spans {kernel}, and finds {frames}; "
            "take a shorter hop_length, longer clip_seconds, or causal: false"
        )
    return newest(x, frames - (frames - kernel) % stride, f"{name}_grid")


def padded_bands(x: keras.KerasTensor, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    """Zeros around the bands of (frames, bands, channels): a valid convolution over them is as a 'same' one."""
    bands = x.shape[2]
    zeros = max(0, (-(-bands // stride) - 1) * stride + kernel - bands)
    return layers.ZeroPadding2D((0, (zeros // 2, zeros - zeros // 2)), name=f"{name}_bands")(x)
