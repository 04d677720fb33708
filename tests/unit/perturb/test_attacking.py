"""Attacks: within their budget, on a network that stays as it is, worse than noise."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from probes import accuracy, attacked, corruption, exceeds, fgsm, gaussian, pgd, quantised
from probes.batch import Batch, Draw
from probes.errors import BadInput, Unavailable, UnknownName
from probes.kept import Kept
from probes.lab import Lab
from probes.perturb import Pass, foolbox_attack, layer_noise, torchattack, weight_noise
from probes.perturb.attacks import sizes, slope_of, within

IDS = np.array([3, 1, 4, 15, 9, 2])
LABELS = np.array([0, 1, 2, 0, 1, 2])
IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
SEEDED = Draw(0, "d", 0)


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(4 * 36, 3),
    ).eval()  # fmt: skip


def seen(under, net=None, rows=slice(None), level=0.1, draw=SEEDED):
    net = net or small()
    under = under.arms(net)[0][1]
    at = Pass(net, level, draw, Kept(), torch.Tensor.clone, lambda x: net(x.clone()))
    with torch.inference_mode(), under.open(at) as forward:
        return forward(Batch.of(IDS[rows], LABELS[rows], IMAGES[rows]))


ATTACKS = [fgsm(), fgsm("l2"), pgd(5), pgd(5, "l2"), pgd(3, start=False)]


@pytest.mark.parametrize(
    "attack", ATTACKS, ids=lambda attack: getattr(attack, "__name__", str(attack))
)
@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
def test_an_attack_stays_in_its_budget_and_raises_the_loss(attack, level):
    net = small()
    found = seen(attacked(attack, (0, level)), net, level=level)
    labels = torch.from_numpy(LABELS)
    with torch.no_grad():
        before, after = (F.cross_entropy(net(x), labels, reduction="none") for x in (IMAGES, found))

    assert bool((sizes(found - IMAGES, attack.norm) <= level * 1.0001 + 1e-6).all())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert bool((after >= before - 1e-5).all())
    assert float(after.sum()) > float(before.sum())


def test_one_step_is_the_sign_of_the_gradient():
    """Of a linear network the gradient is known: the sum of w (p - y) over classes."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).eval()
    found = seen(attacked(fgsm(), (0, 0.05)), net, level=0.05)
    with torch.no_grad():
        error = net(IMAGES).softmax(1) - F.one_hot(torch.from_numpy(LABELS), 3)
        slope = (error @ net[1].weight).reshape(IMAGES.shape)

    torch.testing.assert_close(found, (IMAGES + 0.05 * slope.sign()).clamp(0, 1))
    torch.testing.assert_close(slope_of(net, IMAGES, torch.from_numpy(LABELS)), slope)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 10), st.sampled_from(["linf", "l2"]), st.integers(0, 100))
def test_a_change_is_cut_to_the_budget_and_a_smaller_one_stays(level, norm, seed):
    change = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    found = within(change, level, norm)

    assert bool((sizes(found, norm) <= level * 1.0001).all())
    inside = sizes(change, norm) <= level
    assert torch.equal(found[inside], change[inside])


@pytest.mark.parametrize(
    "attack", ATTACKS, ids=lambda attack: getattr(attack, "__name__", str(attack))
)
@pytest.mark.parametrize("noise", [False, True])
def test_trap_n03_order_and_batch_size_change_no_draw(attack, noise):
    under = attacked(attack, (0, 0.1), noise=noise)
    net = small()
    arm = under.arms(net)[-1][1]

    @settings(max_examples=8, deadline=None)
    @given(st.permutations(range(6)), st.integers(1, 6))
    def check(order, size):
        whole = seen(arm, net)
        for start in range(0, 6, size):
            part = list(order[start : start + size])
            # the draw is the same; a gradient's last bits may depend on the batch
            torch.testing.assert_close(seen(arm, net, part), whole[part], rtol=0, atol=1e-5)

    check() if noise or "l2" in str(attack) else None
    assert torch.equal(seen(arm, net), seen(arm, net))


def test_a_random_start_has_a_name():
    under = attacked(pgd(1, size=0.0), (0, 0.1))

    assert torch.equal(seen(under), seen(under))
    assert not torch.equal(seen(under), seen(under, draw=Draw(1, "d", 0)))
    assert not torch.equal(seen(under), seen(under, draw=Draw(0, "d", 1)))
    assert torch.equal(seen(under, rows=[4]), seen(under)[4:5])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_beside_it_has_the_size_of_the_budget(norm):
    under = attacked(fgsm(norm), (0, 0.01), noise=True).arms(None)[1][1]
    net = small()
    at = Pass(net, 0.01, SEEDED, Kept(), torch.Tensor.clone, lambda x: net(x.clone()))
    inside = IMAGES.clamp(0.1, 0.9)
    with torch.inference_mode(), under.open(at) as forward:
        change = forward(Batch.of(IDS, LABELS, inside)) - inside

    torch.testing.assert_close(sizes(change, norm), torch.full((6,), 0.01), rtol=1e-3, atol=0)


def state(net):
    return (
        {name: t.clone() for name, t in net.state_dict().items()},
        {name: (p.requires_grad, p.grad) for name, p in net.named_parameters()},
        [m.training for m in net.modules()],
        [len(m._forward_hooks) for m in net.modules()],
    )


def backward(model, images, labels, level):
    x = images.requires_grad_(True)
    for p in model.parameters():
        p.requires_grad_(True)
    F.cross_entropy(model(x), labels).backward()
    model.train()
    return images.detach() + level * x.grad.sign()


def broken(model, images, labels, level):
    raise RuntimeError("in the attack")


@pytest.mark.parametrize(
    "attack",
    [*ATTACKS, backward, broken],
    ids=lambda attack: getattr(attack, "__name__", str(attack)),
)
def test_the_network_is_bit_equal_afterwards_also_after_an_exception(attack):
    net = small()
    before, generators = state(net), (torch.get_rng_state(), repr(np.random.get_state()))
    if attack is broken:
        with pytest.raises(RuntimeError, match="in the attack"):
            seen(attacked(attack, (0, 0.1)), net)
    else:
        seen(attacked(attack, (0, 0.1)), net)
    after = state(net)

    assert all(torch.equal(t, after[0][name]) for name, t in before[0].items())
    assert before[1:] == after[1:]
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert torch.is_inference_mode_enabled() is False


def writes(model, images, labels, level):
    with torch.no_grad():
        model.net[4].weight.add_(1)
    return images


def trains(model, images, labels, level):
    model.train()
    model(images)
    return images


@pytest.mark.parametrize(("attack", "where"), [(writes, "4.weight"), (trains, "1.running_mean")])
def test_an_attack_that_writes_to_the_network_is_refused_and_undone(attack, where):
    net = small()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(BadInput, match=f"{attack.__name__} writes to '{where}'"):
        seen(attacked(attack, (0, 0.1)), net)

    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def too_far(model, images, labels, level):
    moved = images.clone()
    moved[2] = (moved[2] + 2 * level).clamp(0, 1)
    return moved


def draws(model, images, labels, level):
    return (images + level * (2 * torch.rand_like(images) - 1)).clamp(0, 1)


def draws_by_numpy(model, images, labels, level):
    return images + level * (random.random() - 0.5)


def test_a_budget_that_is_left_names_the_image_and_the_excess():
    with pytest.raises(BadInput, match=r"image 4 changed by 0.2 in linf, 0.1 more than the level"):
        seen(attacked(too_far, (0, 0.1)))
    with pytest.raises(BadInput, match=r"gives \(5, 1, 8, 8\) for images of \(6, 1, 8, 8\)"):
        seen(attacked(lambda model, images, labels, level: images[:5], (0, 0.1)))
    with pytest.raises(BadInput, match="leaves its budget"):
        seen(attacked(lambda model, images, labels, level: images * float("nan"), (0, 0.1)))


@pytest.mark.parametrize("attack", [draws, draws_by_numpy])
def test_an_attack_that_draws_globally_is_refused_or_seeded_for_each_image(attack):
    with pytest.raises(BadInput, match=r"one_by_one=True"):
        seen(attacked(attack, (0, 0.1)))
    under = attacked(attack, (0, 0.1), one_by_one=True)
    whole = seen(under)

    assert torch.equal(whole, seen(under))
    assert torch.equal(whole[[5, 0]], seen(under, rows=[5, 0]))
    assert not torch.equal(whole, seen(under, draw=Draw(0, "d", 1)))


def test_what_is_none_is_refused():
    for levels in ((0.1, 0.2), (0, 0.1, 0.1), (-1, 0), (0, float("nan"))):
        with pytest.raises(BadInput, match="ascend from 0"):
            attacked(fgsm(), levels)
    with pytest.raises(BadInput, match=r"of 0 to 255 it would be 0.0314"):
        attacked(fgsm(), (0, 8))
    with pytest.raises(UnknownName, match="norm of the budget"):
        attacked(fgsm(), (0, 0.1), norm="l1")
    with pytest.raises(BadInput, match="a function"):
        attacked("fgsm", (0, 0.1))
    for given_ in (lambda: fgsm("l1"), lambda: pgd(0), lambda: pgd(norm="l0")):
        with pytest.raises(BadInput, match="'linf' or"):
            given_()


def test_keys_hold_the_attack_and_its_settings():
    keys = [
        attacked(attack, (0, 0.1)).key(0.1)
        for attack in (fgsm(), fgsm("l2"), pgd(5), pgd(6), too_far, draws)
    ]

    assert len({str(key) for key in keys}) == 6
    assert attacked(fgsm(), (0, 0.1)).key(0.0) == attacked(pgd(), (0, 0.1)).key(0.0)


@pytest.mark.parametrize("other", [quantised(4), weight_noise(0, 0.1), layer_noise(0, 0.1)])
def test_an_attack_sees_the_network_under_what_it_is_combined_with(tmp_path, other):
    lab = Lab("resnet20@mnist5k", images=20, store=tmp_path, quiet=True)
    both = attacked(fgsm(), levels=(0, 0.1)) & other
    frame, alone = (lab.sweep(accuracy, under=u).frame for u in (both, other))

    assert (
        frame.loc[frame["level"] > 0, "loss"].mean() > alone.loc[alone["level"] > 0, "loss"].mean()
    )


def test_an_attack_on_a_corrupted_image_is_refused_by_its_budget_or_runs(tmp_path):
    lab = Lab("resnet20@mnist5k", images=20, store=tmp_path, quiet=True)
    both = corruption("contrast", severity=1) & attacked(fgsm(), levels=(0, 0.05))
    loss = lab.sweep(accuracy, under=both).frame.groupby("level")["loss"].mean()

    assert loss[1.0] > loss[0.0]


def test_adversarial_costs_more_than_noise_of_its_size(tmp_path):
    lab = Lab("resnet20@mnist5k", images=200, store=tmp_path, quiet=True)
    table = lab.sweep(accuracy, under=attacked(pgd(5), levels=(0, 0.1), noise=True))
    found = exceeds(table, "loss", between=("attack", "noise"), arm="attack", sesoi=0.5)
    clean = lab.sweep(accuracy, under=gaussian(0)).frame

    assert found.overall == "supported"
    part = table.frame[(table.frame["level"] == 0) & (table.frame["attack"] == "noise")]
    assert part["loss"].tolist() == clean["loss"].tolist()


@pytest.mark.parametrize(
    ("library", "attack"),
    [("torchattacks", torchattack("FGSM")), ("foolbox", foolbox_attack("LinfFastGradientAttack"))],
)
def test_an_attack_of_a_library_that_is_not_here_names_the_command(monkeypatch, library, attack):
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Unavailable, match=r"pip install 'neural-probes\[attacks\]'"):
        seen(attacked(attack, (0, 0.1)))


def test_one_step_is_that_of_torchattacks():
    pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    net = small()

    torch.testing.assert_close(
        seen(attacked(torchattack("FGSM"), (0, 0.1)), net),
        seen(attacked(fgsm(), (0, 0.1)), net),
        rtol=0,
        atol=1e-6,
    )
    steps = torchattack("PGD", steps=4, alpha=0.0625, random_start=False)
    ours = seen(attacked(pgd(4, start=False), (0, 0.1)), net)
    torch.testing.assert_close(seen(attacked(steps, (0, 0.1)), net), ours, rtol=0, atol=1e-6)
    with pytest.raises(BadInput, match="one_by_one"):
        seen(attacked(torchattack("PGD", steps=2), (0, 0.1)), net)


def test_one_step_is_that_of_foolbox():
    pytest.importorskip("foolbox", reason="foolbox is not installed")
    net = small()
    theirs = foolbox_attack("LinfFastGradientAttack", random_start=False)

    torch.testing.assert_close(
        seen(attacked(theirs, (0, 0.1)), net), seen(attacked(fgsm(), (0, 0.1)), net),
        rtol=0, atol=1e-6,
    )  # fmt: skip
