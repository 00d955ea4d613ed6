"""BC-ResNet: a 2-D residual net whose blocks add what a 1-D branch over time finds.

Kim et al., 2021, arXiv:2106.04140.
"""

import keras

from kws.train.networks.layers import channels, norm, norm_relu, normalised

layers = keras.layers
CHANNELS = 8
# blocks, times CHANNELS, stride over frequency, dilation over time
STAGES = ((2, 1, 1, 1), (2, 1.5, 2, 2), (4, 2, 2, 4), (4, 2.5, 1, 8))
SUB_BANDS, DROPOUT = 5, 0.1


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,); `mel_bins` must be 40.

    The paper's BC-ResNet-1 at width 1: 9,232 trainable parameters for twelve classes.
    """
    assert not causal, "its dilated kernels span more frames than a clip has"
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = layers.Permute((2, 1, 3), name="frequency_first")(normalised(inputs))
    x = layers.Conv2D(channels(2 * CHANNELS, width), 5, (2, 1), "same", use_bias=False, name="stem")(x)
    x = norm_relu(x, "stem")
    for stage, (blocks, times, stride, dilation) in enumerate(STAGES, start=1):
        for block in range(1, blocks + 1):
            filters = channels(times * CHANNELS, width)
            x = _block(x, filters, stride if block == 1 else 1, dilation, f"stage{stage}_block{block}")
    bands, channels_in = x.shape[1], x.shape[-1]
    x = layers.ZeroPadding2D((0, 2), name="head_pad")(x)
    x = layers.DepthwiseConv2D(5, use_bias=False, name="head_depth")(x)
    assert bands == 5, f"{bands} bands of {channels_in} channels"
    x = layers.Conv2D(channels(4 * CHANNELS, width), 1, use_bias=False, name="head_point")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(norm_relu(x, "head"))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="bc_resnet")


def _block(x: keras.KerasTensor, filters: int, stride: int, dilation: int, name: str) -> keras.KerasTensor:
    """Over frequency in 2-D; then, averaged over frequency, over time; the result is added to every band."""
    skip = x if x.shape[-1] == filters and stride == 1 else None
    if skip is None:
        x = norm_relu(layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_widen")(x), f"{name}_widen")
    x = _depthwise(x, (3, 1), stride, 1, f"{name}_frequency")
    x = _sub_spectral_norm(x, f"{name}_sub_spectral")
    y = layers.AveragePooling2D((x.shape[1], 1), name=f"{name}_average")(x)
    y = norm(_depthwise(y, (1, 3), 1, dilation, f"{name}_time"), f"{name}_time_norm")
    y = layers.Activation("swish", name=f"{name}_swish")(y)
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_point")(y)
    y = layers.SpatialDropout2D(DROPOUT, name=f"{name}_dropout")(y)
    x = layers.Add(name=f"{name}_add")([x, y] if skip is None else [x, y, skip])
    return layers.ReLU(name=f"{name}_relu")(x)


def _depthwise(
    x: keras.KerasTensor, kernel: tuple[int, int], stride: int, dilation: int, name: str
) -> keras.KerasTensor:
    """A depthwise convolution; its stride is over frequency alone, which Keras's own does not allow."""
    x = layers.DepthwiseConv2D(kernel, padding="same", dilation_rate=(1, dilation), use_bias=False, name=name)(x)
    return layers.MaxPooling2D(1, (stride, 1), name=f"{name}_stride")(x) if stride > 1 else x


def _sub_spectral_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalisation of each of five bands by itself (Chang et al., 2021): (frequency, time, filters)."""
    _, rows, frames, filters = x.shape
    x = layers.Reshape((SUB_BANDS, rows // SUB_BANDS, frames, filters), name=f"{name}_split")(x)
    x = layers.Permute((2, 3, 1, 4), name=f"{name}_bands_last")(x)
    x = layers.Reshape((rows // SUB_BANDS, frames, SUB_BANDS * filters), name=f"{name}_bands_as_channels")(x)
    x = norm(x, f"{name}_norm")
    x = layers.Reshape((rows // SUB_BANDS, frames, SUB_BANDS, filters), name=f"{name}_bands")(x)
    x = layers.Permute((3, 1, 2, 4), name=f"{name}_bands_first")(x)
    return layers.Reshape((rows, frames, filters), name=name)(x)
