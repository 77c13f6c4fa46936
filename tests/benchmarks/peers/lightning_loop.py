"""Lightning with MLFlowLogger and ModelCheckpoint, all runs in one process: `lightning_loop.py STORE RUNS`."""

import logging
import sys
import warnings
from typing import Any

import lightning
import torch
from digits import BATCH_SIZE, EPOCHS, load
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Classifier(lightning.LightningModule):
    """Two convolutions and a dense layer, with the metrics of Keras."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)
        )

    def training_step(self, batch: Any, index: int) -> Any:
        """Logs loss and accuracy of a batch, and returns the loss."""
        logits = self.network(batch[0])
        loss = functional.cross_entropy(logits, batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)
        self.log("accuracy", (logits.argmax(1) == batch[1]).float().mean(), on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        """Logs loss and accuracy of a validation batch."""
        logits = self.network(batch[0])
        self.log("val_loss", functional.cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        """Returns AdamW."""
        return torch.optim.AdamW(
            self.network.parameters(), self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )


def main(store: str, runs: int) -> None:
    """Trains one model after another."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    train_images, val_images, train_labels, val_labels = load()

    def batches(images: Any, labels: Any, *, shuffle: bool) -> Any:
        tensors = TensorDataset(torch.from_numpy(images[:, None]), torch.from_numpy(labels))
        return DataLoader(tensors, BATCH_SIZE, shuffle=shuffle)

    for seed in range(runs):
        lightning.seed_everything(seed, verbose=False)
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            logger=MLFlowLogger("lightning", tracking_uri=f"sqlite:///{store}/mlflow.db"),
            callbacks=[
                ModelCheckpoint(f"{store}/{seed}", filename="best", monitor="val_accuracy", mode="max", save_last=True)
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            log_every_n_steps=5,
        )
        trainer.fit(
            Classifier(1e-3, 1e-4),
            batches(train_images, train_labels, shuffle=True),
            batches(val_images, val_labels, shuffle=False),
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
