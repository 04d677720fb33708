"""The evaluation loop of the weight-noise study, as such scripts are written, to be timed against.

A DataLoader makes every image anew (PIL, resized to 28 px, grey repeated to 3 channels, ToTensor);
for every draw noise is drawn for every convolution and linear weight, added in place, the whole
test set is passed in batches of 128, accuracy and loss are moved to Python batch by batch, and the
noise is subtracted again.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms


class Images(TorchDataset):
    """Images as torchvision's MNIST and CIFAR10 give them, as 3 x 28 x 28 in [0, 1]."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        grey = [transforms.Grayscale(3)] if images.shape[1] == 1 else []
        self.transform = transforms.Compose(
            [transforms.Resize((28, 28)), *grey, transforms.ToTensor()]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        pil = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        return self.transform(pil), int(self.labels[i])


def weights_of(model):
    return [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def evaluate(model, loader):
    hits, total, loss = 0, 0, 0.0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            hits += (logits.argmax(1) == y).sum().item()
            total += len(y)
    return hits / total, loss / total


def sweep(model, images, labels, alphas, draws):
    """Accuracy and loss at each alpha, one draw at 0: the study's ``robustness_sweep``."""
    loader = DataLoader(Images(images, labels), batch_size=128, shuffle=False)
    results = {}
    for alpha in alphas:
        found = []
        for _ in range(draws if alpha else 1):
            noise = (
                [torch.randn_like(w) * alpha * w.std() for w in weights_of(model)] if alpha else []
            )
            with torch.no_grad():
                for w, eps in zip(weights_of(model), noise, strict=False):
                    w.add_(eps)
            found.append(evaluate(model, loader))
            with torch.no_grad():
                for w, eps in zip(weights_of(model), noise, strict=False):
                    w.sub_(eps)
        results[alpha] = [sum(column) / len(found) for column in zip(*found, strict=True)]
    return results
