"""Networks as strangers write them are measured right or refused with a sentence: in every path
that sends images to a network.
"""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from probes.errors import BadInput, ProbesError
from probes.judge import falls
from probes.measure import BlockAdapter, Predictions, accuracy, block_metrics, register_block, tap
from probes.perturb import gaussian, layer_noise, weight_noise
from probes.perturb.plainweights import targets
from probes.run import forward
from probes.run.bench import Bench
from probes.run.forward import network
from probes.run.settings import Options
from probes.store import Store
from probes.studies.features.passes import passes_over
from probes.studies.masking import work
from probes.studies.masking.guide import Guide
from probes.studies.masking.masks import Mask
from probes.studies.sensitivity import contrasts
from probes.studies.sensitivity.reader import Reader, whole
from probes.studies.sensitivity.source import Source
from probes.subjects.data import load
from probes.subjects.dataset import Dataset
from probes.subjects.nets import Normalised
from probes.subjects.opened import opened
from probes.subjects.spec import parse
from probes.subjects.subject import Subject

WHERE = Options(threads=1, batch_size=20).where


def images(n=40, classes=10, channels=1, side=28):
    made = np.random.Generator(np.random.Philox(1)).integers(
        0, 256, (n, channels, side, side), dtype=np.uint8
    )
    return Dataset(
        "digits_of_a_stranger",
        "d",
        "test",
        made,
        np.arange(n) % classes,
        np.arange(n),
        tuple(map(str, range(classes))),
        (0.5,) * channels,
        (0.25,) * channels,
    )


def subject(net, data=None, name="strange", raw=True):
    data = data or images()
    model = (
        Normalised(
            net,
            (0.0,) if raw else data.mean,
            (1.0,) if raw else data.std,
            len(data.classes),
        )
        .eval()
        .requires_grad_(False)
    )
    return Subject(
        parse(f"{name}@d#0"), model, data, f"sha of {name}", "a file", code=f"code of {name}"
    )


def lab(one, tmp_path, **options):
    return Bench(
        [one.spec],
        Store(tmp_path),
        Options(threads=1, batch_size=20, **options),
        subjects={str(one.spec): one},
    )


# --- F1: a network that works in place on what it is given
# ----------------------------------------------------------------


class InPlace(nn.Module):
    """Centres its own input in place, as scripts do; the twin does not."""

    def __init__(self, inplace):
        super().__init__()
        torch.manual_seed(0)
        self.inplace, self.conv, self.norm = inplace, nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 26 * 26, 10)

    def forward(self, x):
        x = x.sub_(0.5).div_(0.25) if self.inplace else (x - 0.5) / 0.25
        return self.fc(self.norm(self.conv(x)).flatten(1))


def both_twins():
    return [subject(InPlace(inplace), name=f"twin{inplace}") for inplace in (True, False)]


@pytest.mark.parametrize(
    "under",
    [
        gaussian(0, 0.1, 0.2),
        weight_noise(0, 1e-6, 0.1),
        layer_noise(0, 0.5, 1),
        layer_noise(0, 0.5, 1, choice="each"),
        layer_noise(0, 0.5, scale="absolute"),
    ],
    ids=["images", "weights", "layers", "each layer", "absolute"],
)
def test_trap_f01_sweeps_are_those_of_the_twin_that_copies(tmp_path, under):
    found = [lab(one, tmp_path).sweep(accuracy, under=under).frame for one in both_twins()]

    np.testing.assert_array_equal(found[0]["loss"], found[1]["loss"])
    if "sigma_realised" in found[0]:
        np.testing.assert_array_equal(found[0]["sigma_realised"], found[1]["sigma_realised"])


def test_trap_f01_answers_under_masks_are_those_of_the_twin_that_copies():
    guide = Guide(
        ("a",), {"total": {"conv": np.ones((1, 4, 26, 26))}}, {"conv": np.ones((4, 26, 26))}
    )
    masks = [Mask(), *(Mask("random", "", 0.5, 0.0, draw) for draw in range(3)), Mask()]
    found = [
        work.top_classes(one, guide, "clean", masks, Options(threads=1, batch_size=20).where)
        for one in both_twins()
    ]

    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0][0], found[0][-1])


def test_trap_f01_maps_that_are_read_twice_are_the_same():
    for one in both_twins():
        reader = Reader(one, whole({"conv": [4, 26, 26]}), WHERE)
        x = forward.pixels(one.data, slice(0, 8))
        first, again = (reader.read(x)["conv"] for _ in range(2))

        assert torch.equal(first, again)


def test_trap_f01_contrasts_are_those_of_the_twin_that_copies(tmp_path):
    found = []
    for one in both_twins():
        lab = Bench([one.spec], Store(tmp_path), Options(threads=1), subjects={"one": one})
        asked, parts = contrasts.Contrasts(images=20, draws=2), whole({"conv": [4, 26, 26]})
        made = contrasts.contrasts_of(lab, Source("one"), ["brightness"], parts, asked)
        found.append(next(iter(made))[1]["conv"].share)

    np.testing.assert_array_equal(*found)


def test_trap_f01_feature_maps_are_those_of_the_twin_that_copies():
    found = []
    for one in both_twins():
        where, under = Options(threads=1).where, gaussian(0, 0.1, 0.2)
        passes = passes_over(one, ["conv"], under, where, 0, range(len(one.data)))
        found.append([passes[level].maps["conv"] for level in (0.0, 0.1, 0.2)])

    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --- F4: an adapter is checked
# -------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """A gate between the branch and the sum, as in squeeze-and-excitation or layer scale."""

    def __init__(self, scale=0.5):
        super().__init__()
        self.f, self.gate, self.act, self.scale = (
            nn.Conv2d(2, 2, 3, padding=1),
            nn.Identity(),
            nn.ReLU(),
            scale,
        )

    def forward(self, x):
        return self.act(x + self.gate(self.f(x) * self.scale))


class GatedWrong(Gated):
    forward = Gated.forward


register_block(Gated, BlockAdapter(branch="gate", relu="act"))
register_block(GatedWrong, BlockAdapter(branch="f", relu="act"))


@pytest.mark.parametrize("read", [tap, block_metrics.open], ids=["tap", "metrics"])
def test_trap_f04_a_branch_that_is_not_what_is_added_is_refused_with_the_way_out(read):
    net = nn.Sequential(GatedWrong()).eval()
    with torch.no_grad(), read(net), pytest.raises(BadInput, match=r"is not the sum.*belongs to h"):
        net(torch.rand(3, 2, 6, 6))


def test_trap_f04_the_last_module_of_the_branch_is_taken():
    net, x = nn.Sequential(Gated()).eval(), torch.rand(3, 2, 6, 6)
    with torch.no_grad(), tap(net) as seen:
        net(x)

    torch.testing.assert_close(seen["0"]["h"], 0.5 * net[0].f(x))


def test_trap_f04_block_metrics_under_layer_noise_read_h_with_its_noise(tmp_path):
    """What reads a layer reads it with the noise that it was given: x + h is the sum there, too."""
    data = load("mnist5k").sample(40)
    one = Bench(
        [parse("resnet20@mnist5k")], Store(tmp_path), Options(images=40, threads=1)
    ).subjects["resnet20@mnist5k"]
    table = lab(dataclasses.replace(one, data=data), tmp_path, images=40).sweep(
        block_metrics, under=layer_noise(0, 1.0, on="*.bn2", layers=9)
    )
    wide = table.frame.groupby(["site", "level"], observed=True)["var_h"].mean().unstack("level")

    assert (wide[1.0] > 1.2 * wide[0.0]).all()


# --- F5: weights that are made anew at each pass
# --------------------------------------------------------------------------


class Lora(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.lora_A, self.lora_B = (
            nn.Linear(784, 10),
            nn.Linear(784, 2, bias=False),
            nn.Linear(2, 10, bias=False),
        )

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x))


def layers():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).eval()


def pruned():
    net = layers()
    prune.l1_unstructured(net[1], "weight", 0.5)
    return net


def parametrised(how):
    net = layers()
    net[1] = how(net[1])
    return net.eval()


class Computed(nn.Linear):
    """Its weight is no parameter at all."""

    def __init__(self):
        super().__init__(784, 16)
        value = self.weight.detach()
        del self._parameters["weight"]
        self.weight = value


def computed():
    net = layers()
    net[1] = Computed()
    return net.eval()


REMADE = {
    "pruned": pruned,
    "weight norm": lambda: parametrised(weight_norm),
    "spectral norm": lambda: parametrised(spectral_norm),
    "parametrised (weight norm)": lambda: parametrised(parametrizations.weight_norm),
    "parametrised (spectral norm)": lambda: parametrised(parametrizations.spectral_norm),
    "parametrised (orthogonal)": lambda: parametrised(parametrizations.orthogonal),
}
CLOSED = {
    "quantised": lambda: torch.ao.quantization.quantize_dynamic(layers(), {nn.Linear}),
    "LoRA": lambda: nn.Sequential(nn.Flatten(), Lora()).eval(),
    "made at each pass": computed,
}


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)
@pytest.mark.parametrize("name", [*REMADE, *CLOSED])
def test_trap_f05_weights_that_are_no_plain_parameters_are_refused_by_name_with_the_way_out(name):
    net = {**REMADE, **CLOSED}[name]()
    with pytest.raises(BadInput, match=r"the weights of .*1.*no plain parameters.*: .{12,}"):
        targets(net)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REMADE)
def test_trap_f05_a_subject_gets_noise_on_its_effective_weights(name):
    net, x = REMADE[name](), torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        before, effective = net(x), net[1].weight.detach().clone()
        told = opened(net)

        assert told[0].startswith("1.weight (")
        torch.testing.assert_close(net(x), before)
    assert list(targets(net)) == ["1.weight", "3.weight"]
    torch.testing.assert_close(targets(net)["1.weight"].detach(), effective)


# --- F6: a network that draws at random in eval mode
# ----------------------------------------------------------------------


class Drawing(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.drop, self.fc = (
            how,
            nn.Conv2d(1, 4, 3),
            nn.Dropout(0.3),
            nn.Linear(4 * 26 * 26, 10),
        )

    def forward(self, x):
        x = self.conv(x)
        if self.how == "functional":
            x = F.dropout(x, 0.3, training=True)
        if self.how == "numpy":
            x = x + float(np.random.normal())
        return self.fc((self.drop(x) if self.how == "module" else x).flatten(1))


@pytest.mark.parametrize(
    ("how", "where"),
    [("functional", "what module 'fc'"), ("numpy", "what module 'fc'"), ("module", "'drop'")],
)
def test_trap_f06_a_network_that_draws_at_random_is_told_with_the_first_module_that_differs(
    tmp_path, how, where
):
    one = subject(Drawing(how), name=f"drawing {how}")
    if how == "module":  # dropout that stays on, as Monte Carlo dropout has it
        one.model.net.drop.forward = lambda x: F.dropout(x, 0.3, True)
    with pytest.raises(ProbesError, match=f"draws at random in eval mode.*{where}"):
        lab(one, tmp_path).sweep(accuracy, under=gaussian(0, 0.1)).frame  # noqa: B018


def test_trap_f06_looking_leaves_the_global_generator_as_it_was():
    one, before = subject(layers(), name="quiet"), torch.random.get_rng_state()
    network(one, WHERE)

    assert torch.equal(torch.random.get_rng_state(), before)


class Counting(nn.Module):
    """Keeps something from one pass to the next: a buffer, a number, or statistics that its first
    pass sets.
    """

    def __init__(self, how):
        super().__init__()
        self.how, self.fc, self.calls = how, nn.Linear(784, 10), 0
        self.register_buffer("seen", torch.zeros(()), persistent=how != "hidden buffer")
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.fc(x.flatten(1))
        if self.how.endswith("buffer"):
            self.seen += 1
        if self.how == "number":
            self.calls += 1
        if self.how == "first pass" and not self.calls:
            self.calls, self.scale.data = 1, x.std().reshape(1).clone()
        return x * self.scale


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("buffer", "net.seen"),
        ("hidden buffer", "net.seen"),
        ("number", "net.calls"),
        ("first pass", "net.scale"),
    ],
)
def test_trap_f06_a_network_that_changes_itself_in_a_pass_is_told_with_what_it_writes_to(
    tmp_path, how, what
):
    with pytest.raises(
        ProbesError, match=f"changes itself: a pass in eval mode writes to '{what}'"
    ):
        lab(subject(Counting(how), name=f"counting {how}"), tmp_path).sweep(
            accuracy, under=gaussian(0, 0.1)
        ).compute()


class OfTheBatch(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.fc = how, nn.Conv2d(1, 4, 3), nn.Linear(4 * 26 * 26, 10)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False) if how == "norm" else nn.Identity()

    def forward(self, x):
        x = self.norm(self.conv(x))
        return self.fc((x - x.mean(0) if self.how == "mean" else x).flatten(1))


@pytest.mark.parametrize(
    ("how", "where"), [("norm", "module 'norm'"), ("mean", "what module 'fc'")]
)
def test_a_network_whose_output_depends_on_the_other_images_of_the_batch_is_told(
    tmp_path, how, where
):
    with pytest.raises(ProbesError, match=f"depends on the other images of the batch.*{where}"):
        lab(subject(OfTheBatch(how), name=f"batch {how}"), tmp_path).sweep(  # noqa: B018
            accuracy, under=gaussian(0, 0.1)
        ).frame


def test_probabilities_are_no_logits(tmp_path):
    one = subject(nn.Sequential(layers(), nn.Softmax(1)), name="softmax")
    with pytest.raises(BadInput, match="probabilities instead of logits"):
        lab(one, tmp_path).sweep(accuracy, under=gaussian(0, 0.1)).frame  # noqa: B018


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.fc, self.wrap = nn.Linear(784, 10), wrap

    def forward(self, x):
        return self.wrap(self.fc(x.flatten(1)), x)


class Answer:
    def __init__(self, logits):
        self.logits = logits


OUTPUTS = {
    "a pair": lambda out, x: (x, out),
    "by width": lambda out, x: (out[:, :3], [x], out),
    "a dictionary": lambda out, x: {"logits": out, "hidden": out + 1},
    "the only one of a dictionary": lambda out, x: {"images": x, "scores": out},
    "an attribute": lambda out, x: Answer(out),
}


@pytest.mark.parametrize("how", OUTPUTS)
def test_logits_are_found_in_what_a_network_gives(how, tmp_path):
    data = images(n=60)
    wrapped = Wrapped(OUTPUTS[how])
    plain = nn.Sequential(nn.Flatten(), wrapped.fc)
    tables = [
        lab(subject(net, data, name=name), tmp_path, images=60)
        .sweep(Predictions(floor=None), under=gaussian(0, 0.1))
        .frame
        for net, name in ((wrapped, how), (plain, "plain"))
    ]
    assert tables[0]["loss"].tolist() == tables[1]["loss"].tolist()


NO_LOGITS = {
    "two of the width": (lambda out, x: (out, out + 1), "a tuple of .*, 10., .*, 10."),
    "another shape": (lambda out, x: out[:, :, None], "10, 1"),
    "no tensor": (lambda out, x: {"n": 3}, "a dict of 'n' a int"),
}


@pytest.mark.parametrize("how", NO_LOGITS)
def test_an_output_without_logits_is_refused_naming_what_came(tmp_path, how):
    wrap, came = NO_LOGITS[how]
    one = subject(Wrapped(wrap), name=how)
    with pytest.raises(BadInput, match=f"no logits but .*{came}"):
        lab(one, tmp_path).sweep(accuracy, under=gaussian(0, 0.1)).frame  # noqa: B018


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_computes_in_the_precision_of_its_weights(dtype, tmp_path):
    torch.manual_seed(0)
    net, data = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).to(dtype), images(n=40)
    one = subject(net, data, name=str(dtype))
    table = lab(one, tmp_path, images=40).sweep(Predictions(floor=None), under=gaussian(0, 0.1))
    clean = table.frame[table.frame["level"] == 0]
    x = torch.from_numpy(data.images).float() / 255
    logits = net(x.to(dtype)).float().double()
    wanted = nn.functional.cross_entropy(logits, torch.from_numpy(data.labels), reduction="none")
    assert np.allclose(clean["loss"], wanted.detach(), atol=1e-6)


def test_images_pass_one_by_one_where_layers_quantise_by_the_range_of_a_batch(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    data = images(n=40)
    one = subject(net, data, name="dynamic")
    table = lab(one, tmp_path, images=40).sweep(Predictions(floor=None), under=gaussian(0, 0.1))
    clean = table.frame[table.frame["level"] == 0]["loss"].to_numpy()
    x = torch.from_numpy(data.images).float() / 255
    for i in (0, 17, 39):
        wanted = nn.functional.cross_entropy(net(x[i : i + 1]), torch.tensor([data.labels[i]]))
        assert np.isclose(clean[i], wanted.item(), atol=1e-5)


# --- replay: what is handed on beside outputs
# -----------------------------------------------------------------------------


class Stash(nn.Module):
    """A skip connection through an attribute, as many U-Nets have it."""

    def __init__(self, sound):
        super().__init__()
        torch.manual_seed(0)
        self.box, self.sound = {}, sound
        self.a, self.b, self.c = (nn.Sequential(nn.Linear(784, 784), nn.Tanh()) for _ in "abc")
        self.fc = nn.Linear(784, 10)
        if not sound:
            self.a.register_forward_hook(lambda _, __, out: self.box.update(skip=out.clone()))
            real = self.a.forward
            self.a.forward = lambda x: self.box.update(skip=real(x) * 2) or real(x)

    def forward(self, x):
        x = self.a(x.flatten(1))
        skip = self.box["skip"] if not self.sound else x * 2
        return self.fc(self.c(self.b(x)) + skip)


@pytest.mark.parametrize("sound", [True, False])
def test_passes_that_begin_at_a_layer_are_whole_ones_where_something_is_handed_on_beside_outputs(
    tmp_path, sound
):
    one = subject(Stash(sound), name=f"stash {sound}")
    under = layer_noise(0, 2.0, on=("a", "b", "c"), choice="each", scale="absolute")
    each = (
        lab(one, tmp_path / "each")
        .sweep(accuracy, under=under)
        .frame.groupby(["layer", "level"], observed=True)["loss"]
        .mean()
    )
    for layer in "abc":
        alone = layer_noise(0, 2.0, on=(layer,), choice="each", scale="absolute")
        frame = lab(one, tmp_path / layer).sweep(accuracy, under=alone).frame

        assert each[layer, 2.0] == pytest.approx(
            frame[frame["level"] == 2.0]["loss"].mean(), rel=1e-6
        )


# --- weights that do not count, or count otherwise
# ------------------------------------------------------------------------


class Copied(nn.Module):
    """Computes with a copy of one weight, made at its first pass."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.copy = nn.Linear(784, 16), nn.Linear(16, 10), None

    def forward(self, x):
        if self.copy is None:
            self.copy = self.a.weight.detach().clone()
        return self.b(F.linear(x.flatten(1), self.copy).relu())


def test_trap_f05_weights_on_which_the_output_does_not_depend_are_refused_by_name(tmp_path):
    one = subject(Copied(), name="copied")
    with pytest.raises(
        BadInput, match=r"the output does not depend on a\.weight: the network computes with a copy"
    ):
        lab(one, tmp_path).sweep(accuracy, under=weight_noise(0, 0.1)).frame  # noqa: B018


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std(
            (1, 2, 3), keepdim=True
        )
        return F.conv2d(x, w, self.bias)


class Rounded(nn.Linear):
    def forward(self, x):
        return F.linear(x, (self.weight * 3).round() / 3, self.bias)


class Adapted(nn.Linear):
    def __init__(self, *size):
        super().__init__(*size)
        self.down, self.up = (
            nn.Parameter(torch.randn(2, self.in_features)),
            nn.Parameter(torch.randn(self.out_features, 2)),
        )

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


class Padded(nn.Conv2d):
    """Changes its input and not its weight, as timm's same-padding convolution does."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (lambda: Standardised(1, 4, 3), "changed by its own forward"),
        (lambda: Rounded(784, 4), "changed by its own forward"),
        (lambda: Adapted(784, 4), "beside down"),
    ],
)
def test_trap_f05_a_layer_of_ones_own_that_makes_another_weight_is_refused(layer, why):
    with pytest.raises(BadInput, match=rf"the weights of 0 \({why}\)"):
        targets(nn.Sequential(layer()).eval())


def test_trap_f05_a_layer_of_ones_own_that_keeps_its_weight_is_taken():
    assert list(targets(nn.Sequential(Padded(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)).eval())) == [
        "0.weight",
        "2.weight",
    ]


@pytest.mark.parametrize(
    "name",
    ["resnet18", "convnext_atto", "tf_efficientnet_b0", "vit_tiny_patch16_224", "nf_resnet26"],
)
def test_trap_f05_networks_of_timm_are_taken_or_refused_by_name(name):
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, pretrained=False).eval()
    if name == "nf_resnet26":
        with pytest.raises(BadInput, match=r"stem\.conv \(beside gain\)"):
            targets(net)
    else:
        assert targets(net)


# --- F7: any module in training mode
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module", [nn.Dropout2d, nn.Dropout1d, nn.AlphaDropout, nn.RReLU, nn.BatchNorm2d, nn.ReLU]
)
def test_trap_f07_a_module_in_training_mode_is_refused_by_name(module):
    net = nn.Sequential(
        nn.Flatten(), nn.Sequential(module(4) if module is nn.BatchNorm2d else module())
    ).eval()
    net[1][0].train()
    with pytest.raises(BadInput, match=r"training mode \(module '1\.0'"), accuracy.open(net):
        pass


# --- F8: a network that takes one memory layout
# ---------------------------------------------------------------------------


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 5), nn.Linear(4 * 24 * 24, 10)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(x.view(x.size(0), -1))


class Striding(Viewing):
    """Reads memory in its order: on channels last it would compute something else, without an
    error.
    """

    def forward(self, x):
        x = self.conv(x)
        return self.fc(torch.as_strided(x, (x.shape[0], x[0].numel()), (x[0].numel(), 1)))


@pytest.mark.parametrize(
    ("net", "why"), [(Viewing, "refuses channels last"), (Striding, "computes something else")]
)
def test_trap_f08_a_network_that_takes_contiguous_images_gets_them_and_it_is_said(
    tmp_path, net, why
):
    one = subject(net(), name=net.__name__)
    sweep = lab(one, tmp_path).sweep(Predictions(floor=None), under=gaussian(0, 0.1))
    with torch.no_grad():
        expected = F.cross_entropy(
            one.model(forward.pixels(one.data)), torch.from_numpy(one.data.labels), reduction="none"
        )
    clean = sweep.frame[sweep.frame["level"] == 0].sort_values("image")["loss"]

    np.testing.assert_allclose(clean, expected, rtol=1e-4)
    assert {cell.layout for cell in sweep.cells} == {"contiguous"}
    assert (
        why
        in lab(one, tmp_path).facts()["weights"]["strange@d#0".replace("strange", net.__name__)][
            "notes"
        ][0]
    )


def test_trap_f08_other_networks_run_on_channels_last(tmp_path):
    one = subject(InPlace(False), name="any")

    assert {
        cell.layout for cell in lab(one, tmp_path).sweep(accuracy, under=gaussian(0)).cells
    } == {"channels last"}


# --- outputs, and accuracy that is not there
# ------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [7, 12])
def test_a_network_with_other_outputs_than_classes_has_no_accuracy(tmp_path, outputs):
    one = subject(nn.Sequential(nn.Flatten(), nn.Linear(784, outputs)), name=f"of {outputs}")
    with pytest.raises(BadInput, match=f"{outputs} outputs for 10 classes"):
        lab(one, tmp_path).sweep(accuracy, under=gaussian(0, 0.1)).frame  # noqa: B018

    assert (
        lab(one, tmp_path).facts()["weights"][f"of {outputs}@d#0"]["accuracy"]
        == f"not measured: {outputs} outputs for 10 classes"
    )


def test_a_claim_about_the_accuracy_of_a_network_at_chance_is_open_and_says_so(tmp_path):
    torch.manual_seed(0)
    one = subject(layers(), images(300), name="chance")
    found = falls(
        lab(one, tmp_path).sweep(accuracy, under=gaussian(0, 0.2)), "correct", sesoi="1 point"
    )

    assert found.overall == "inconclusive"
    assert not found.judged
    assert "there is nothing to lose" in found[""].obstacle
    assert ", at chance (10.0%)" in lab(one, tmp_path).facts()["weights"]["chance@d#0"]["accuracy"]


def test_a_claim_that_means_it_is_judged_at_chance(tmp_path):
    torch.manual_seed(0)
    one = subject(layers(), images(300), name="chance")
    found = falls(
        lab(one, tmp_path).sweep(Predictions(floor=None), under=gaussian(0, 0.2)),
        "correct",
        sesoi="20 points",
    )

    assert found.judged
