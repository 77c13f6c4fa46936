"""Lightning's batch size finder on a ResNet-20, up to a batch that is given: `lightning_batch_size.py LARGEST`.

On a CPU nothing tells it that memory is full: it would double until the kernel kills it. So it stops at the batch that
dlexp finds.
"""

import logging
import sys
import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

IMAGES, FIRST = 6000, 8


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, images: Any) -> Any:
        """Returns the features of a batch."""
        hidden = functional.relu(self.norms[0](self.first(images)))
        return functional.relu(self.norms[1](self.second(hidden)) + self.shortcut(images))


class Classifier(lightning.LightningModule):
    """A ResNet-20 with AdamW."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = FIRST
        widths = [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
        blocks = [Block(*width) for width in widths]
        self.network = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
        )

    def training_step(self, batch: Any, index: int) -> Any:
        """Returns the loss of a batch."""
        return functional.cross_entropy(self.network(batch[0]), batch[1])

    def train_dataloader(self) -> Any:
        """Returns batches of random images."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (IMAGES, 3, 32, 32), generator=generator).float() / 255
        return DataLoader(TensorDataset(images, torch.arange(IMAGES) % 10), self.batch_size, shuffle=True)

    def configure_optimizers(self) -> Any:
        """Returns AdamW."""
        return torch.optim.AdamW(self.parameters())


def main(largest: int) -> None:
    """Doubles the batch from the first one until the given one."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trials = (largest // FIRST).bit_length()
    Tuner(trainer).scale_batch_size(Classifier(), mode="power", init_val=FIRST, max_trials=trials)


if __name__ == "__main__":
    main(int(sys.argv[1]))
