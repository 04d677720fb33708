"""The study's own way, and what each correction puts right."""

import numpy as np
import pandas as pd
import torch
from torchvision.models.resnet import BasicBlock, ResNet

from probes.batch import Batch
from probes.measure import tap
from probes.studies.dynamics.pages import by_level
from probes.studies.dynamics.published import PublishedMetrics


def measure(model, x, kept):
    with torch.no_grad(), PublishedMetrics(kept).open(model) as read:
        model(x)
        return read(Batch.of(range(len(x))))


def net():
    torch.manual_seed(0)
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10).eval()


x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_as_published_h_and_the_relu_input_are_the_blocks_output():
    model = net()
    found = measure(model, x, kept=True)
    with torch.no_grad(), tap(model) as seen:
        model(x)
    outs = [s["out"] for s in seen.values()]

    np.testing.assert_allclose(found["l2_h"][:, 0], [o.norm().item() for o in outs], rtol=1e-5)
    np.testing.assert_allclose(found["mean_sum"][:, 0], [o.mean().item() for o in outs], rtol=1e-5)


def test_put_right_they_are_h_and_the_sum():
    model = net()
    found = measure(model, x, kept=False)
    with torch.no_grad(), tap(model) as seen:
        model(x)

    np.testing.assert_allclose(
        found["l2_h"][:, 0], [s["h"].norm().item() for s in seen.values()], rtol=1e-5
    )
    np.testing.assert_allclose(
        found["var_h"][:, 0], [s["h"].var().item() for s in seen.values()], rtol=1e-5
    )
    np.testing.assert_allclose(
        found["mean_sum"][:, 0],
        [s["sum"].mean().item() for s in seen.values()],
        rtol=1e-4,
        atol=1e-6,
    )


def test_trap_r09_the_published_norm_grows_with_the_batch():
    model = net()
    one, two = (measure(model, torch.cat([x] * k), kept=False)["l2_h"][:, 0] for k in (1, 2))

    np.testing.assert_allclose(two / one, np.sqrt(2), rtol=1e-4)


def test_a_value_of_a_batch_is_given_to_each_of_its_images():
    found = measure(net(), x, kept=True)

    assert found["l2_h"].shape == (4, 4)
    assert (found["l2_h"] == found["l2_h"][:, :1]).all()


def test_blocks_that_are_called_by_a_number_have_their_figures(tmp_path):
    rows = [
        ("n", 0, level, site, "l2_h", 9, 1.0, 0.9, 1.1)
        for site in ("1", "2")
        for level in (0, 0.1, 0.2)
    ]
    names = ["net", "train_seed", "level", "site", "metric", "n", "mean", "low", "high"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "summary.csv", index=False)
    line = {"summary": {"file": "summary.csv"}, "subject": "n@d", "design": {"varied": "noise σ"}}

    assert "l2_norm_hx_vs_noise.png" in by_level(tmp_path, line)[1]
