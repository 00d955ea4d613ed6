"""What every package may use: errors, files that are written whole, paths, parameters, the start of a stage.

The settings below must be in place before TensorFlow is imported anywhere. `kws` imports this package first.
"""

import os

# Hides notes on CPU features, and the "unknown attribute" of deterministic operations. Errors are raised anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # also where the user's keras.json names another
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its default, and so the result, depends on the processor
