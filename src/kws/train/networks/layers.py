"""What several networks are built of. Every layer is named, since Keras's own names depend on what was built before."""

import keras

layers = keras.layers
MOMENTUM = 0.98  # of batch normalisation: a few thousand steps are all the training there is


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
