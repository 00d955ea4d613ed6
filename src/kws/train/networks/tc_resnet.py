"""TC-ResNet8: residual convolutions over time alone, Mel bins as channels (Choi et al., 2019, arXiv:1904.03814)."""

import keras

from kws.train.networks.layers import channels, fitting_kernel, for_valid, mels_as_channels, newest, norm, norm_relu

layers = keras.layers
STEM, BLOCKS, KERNEL, DROPOUT = 16, (24, 32, 48), 9, 0.5
CAUSAL_KERNEL = 5  # the longest with which valid convolutions leave some frames of a second to average over


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's net at width 1: 65,168 trainable parameters for 40 bins and twelve classes. Causal, kernels are shorter
    and the third block keeps its frames, so that a frame in four remains, not one in eight.
    """
    long = fitting_kernel(CAUSAL_KERNEL, frames) if causal else KERNEL

    def conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
        x = for_valid(x, kernel, stride, name) if causal else x
        return layers.Conv1D(filters, kernel, stride, "valid" if causal else "same", use_bias=False, name=name)(x)

    def block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
        """Two convolutions beside a pointwise one; with stride 2, half as many frames come out.

        Causal, the one beside them spans its stride, so that it hears every frame.
        """
        skip = norm_relu(conv(x, filters, stride if causal else 1, stride, f"{name}_skip"), f"{name}_skip")
        x = norm_relu(conv(x, filters, long, stride, f"{name}_conv1"), f"{name}_conv1")
        x = norm(conv(x, filters, long, 1, f"{name}_conv2"), f"{name}_conv2_norm")
        skip = newest(skip, x.shape[1], f"{name}_newest")
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, skip]))

    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = norm_relu(conv(mels_as_channels(inputs), channels(STEM, width), 3, 1, "stem"), "stem")
    for number, filters in enumerate(BLOCKS, start=1):
        stride = 1 if causal and number == len(BLOCKS) else 2
        x = block(x, channels(filters, width), stride, f"block{number}")
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    x = layers.Dropout(DROPOUT, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(classes, use_bias=False, name="logits")(x), name="tc_resnet")
