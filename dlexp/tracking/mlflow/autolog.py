"""What MLflow's own Keras callback adds to a run."""

import keras
from mlflow.keras import MlflowCallback


class Autolog(MlflowCallback):
    """MLflow's Keras autolog callback for what it adds to a run: `optimizer_*` params and `model_summary.txt`.

    Its metrics are left to the tracker. The original writes them asynchronously, with failures only in a log; counts
    steps in epochs; and repeats `validation_*` at step 0 after every epoch, so that a curve is a column of points.
    """

    on_batch_end = keras.callbacks.Callback.on_batch_end
    on_epoch_end = keras.callbacks.Callback.on_epoch_end
    on_test_end = keras.callbacks.Callback.on_test_end
