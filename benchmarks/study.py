"""The loop of the study of H0 and H1, as such scripts are written: hooks that keep tensors, metrics
of whole batches.

It is here to be timed against, with its structure and its flaws (it reads what the in-place ReLU
left behind): a hook on every ``bn2`` and one on every ReLU keep tensors by reference; after the
pass, norm, variance, mean and share of zeros are taken of each and moved to Python; images come one
by one through PIL, ``ToTensor`` and ``Normalize``; noise is drawn anew for every level.
"""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms
from torchvision.models.resnet import BasicBlock

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Images(TorchDataset):
    """Images as torchvision's CIFAR10 gives them: a PIL image from an array, then the transform."""

    def __init__(self, images):
        self.images = images
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(np.transpose(self.images[i], (1, 2, 0)))), 0


class Hooks:
    """The study's hooks, registered once, and its four metrics per block and batch."""

    def __init__(self, model):
        self.kept = {}
        self.blocks = {name: m for name, m in model.named_modules() if isinstance(m, BasicBlock)}
        for name, block in self.blocks.items():
            block.bn2.register_forward_hook(
                lambda _, __, out, name=name: self.kept.__setitem__(("h", name), out)
            )
            block.relu.register_forward_hook(
                lambda _, args, __, name=name: self.kept.__setitem__(("sum", name), args[0])
            )

    def metrics(self):
        found = {}
        for name in self.blocks:
            h, total = self.kept["h", name], self.kept["sum", name]
            found[name] = {
                "l2_norm_hx": torch.norm(h).item(),
                "var_hx": torch.var(h).item(),
                "mean_relu_in": torch.mean(total).item(),
                "sparsity_relu_out": (torch.relu(total) == 0).float().mean().item(),
            }
        return found


def sweep(model, hooks, images, levels, batch_size):
    """The study's main loop: level by level, batch by batch; the mean over batches."""
    loader = DataLoader(Images(images), batch_size=batch_size, shuffle=False)
    results = {}
    for sigma in levels:
        batches = []
        for inputs, _ in loader:
            with torch.no_grad():
                if sigma > 0:
                    inputs = torch.clamp(inputs + torch.randn_like(inputs) * sigma, 0, 1)
                model(inputs)
            batches.append(hooks.metrics())
        results[sigma] = {
            name: {metric: np.mean([b[name][metric] for b in batches]) for metric in values}
            for name, values in batches[0].items()
        }
    return results
