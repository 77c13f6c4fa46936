"""MLflow's own Keras callback, reduced to what the tracker does not write itself."""

import keras
from mlflow.keras import MlflowCallback


class Autolog(MlflowCallback):
    """MLflow's Keras autolog callback without its metrics: it writes `optimizer_*` params and `model_summary.txt`.

    The tracker writes the metrics, as the original writes them asynchronously and only logs failures, counts steps in
    epochs, and writes `validation_*` at step 0 after every epoch, which makes a curve a vertical line.
    """

    on_batch_end = keras.callbacks.Callback.on_batch_end
    on_epoch_end = keras.callbacks.Callback.on_epoch_end
    on_test_end = keras.callbacks.Callback.on_test_end
