"""Networks of other libraries by name, and the weights that come with them."""

import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from probes import residuals, tap
from probes.errors import BadInput, Unavailable, UnknownName
from probes.store import Store
from probes.subjects import hub, libraries, pins, pretrained
from probes.subjects.data import load
from probes.subjects.dataset import Dataset
from probes.subjects.nets import nets
from probes.subjects.spec import Spec, parse

timm = pytest.importorskip("timm")


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch, tmp_path):
    """No file of the hub is on this machine, and none comes."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    libraries.timm.cache_clear()
    libraries.hugging_face.cache_clear()


def colours(n=6, classes=10, side=32):
    made = np.random.Generator(np.random.Philox(1)).integers(0, 256, (n, 3, side, side), np.uint8)
    names = tuple(f"c{i}" for i in range(classes))
    return Dataset(
        "c", "c", "test", made, np.arange(n) % classes, np.arange(n), names, (0.5,) * 3, (0.2,) * 3
    )


@pytest.mark.parametrize(
    ("text", "net", "weights"),
    [
        ("timm:resnet18@mnist5k", "timm:resnet18", None),
        ("timm:resnet18.a1_in1k:pretrained@mnist5k", "timm:resnet18.a1_in1k", "pretrained"),
        ("hf:microsoft/resnet-18@mnist5k#3", "hf:microsoft/resnet-18", None),
        ("torchvision:swin_t:w.pt[ema]@mnist5k", "torchvision:swin_t", "w.pt[ema]"),
        ("__main__:net:untrained@mnist5k", "__main__:net", "untrained"),
    ],
)
def test_names_of_libraries_have_two_parts(text, net, weights):
    assert (parse(text).net, parse(text).weights) == (net, weights)


@pytest.mark.parametrize(
    "name", ["timm:test_resnet", "timm:test_vit", "torchvision:regnet_y_400mf"]
)
def test_a_network_by_name_gives_a_logit_per_class(name, tmp_path):
    data = load("mnist5k").sample(4)
    subject = pretrained.load(parse(f"{name}:untrained@mnist5k"), data, Store(tmp_path))
    with torch.no_grad():
        out = subject.model(torch.from_numpy(data.images).float() / 255)
    assert out.shape == (4, 10)
    assert subject.untrained


def test_a_network_of_a_fixed_size_gets_images_of_that_size(tmp_path):
    data = load("mnist5k").sample(2)
    subject = pretrained.load(parse("timm:test_vit:untrained@mnist5k"), data, Store(tmp_path))
    sides = []
    subject.model.net.register_forward_pre_hook(lambda _, x: sides.append(x[0].shape[-1]))
    with torch.no_grad():
        subject.model(torch.from_numpy(data.images).float() / 255)
    assert sides == [160]


def test_random_weights_never_come_unasked(tmp_path):
    data = load("mnist5k").sample(4)
    with pytest.raises(Unavailable, match="probes train timm:test_resnet"):
        pretrained.load(parse("timm:test_resnet@mnist5k"), data, Store(tmp_path))


@pytest.mark.parametrize("name", ["timm:resnet81", "torchvision:resnet81"])
def test_an_unknown_name_offers_the_nearest(name):
    with pytest.raises(UnknownName, match=r"resnet.*18"):
        nets[name]


def written(folder, repo="timm/test_resnet.r160_in1k", **how):
    """Files of the hub, as a repository holds them."""
    torch.manual_seed(3)
    net = timm.create_model("test_resnet", **how)
    place = folder / repo
    place.mkdir(parents=True)
    save_file(net.state_dict(), place / "model.safetensors")
    (place / "config.json").write_text("{}")
    return net


@pytest.fixture
def server(tmp_path):
    """A hub of our own on this machine."""
    folder = tmp_path / "served"

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, whole):
            repo, _, rest = self.path.lstrip("/").partition("/resolve/")
            path = folder / repo / rest.partition("/")[2]
            here = path.is_file()
            content = path.read_bytes() if here else b""
            self.send_response(200 if here else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", '"' + "a" * 64 + path.name + '"')
            self.send_header("X-Repo-Commit", "b" * 40)
            if not here:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if whole:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()


def test_weights_of_timm_are_fetched_and_used_with_their_normalisation(
    server, monkeypatch, tmp_path
):
    folder, address = server
    spec, data = parse("timm:test_resnet:pretrained@c"), colours(classes=1000, n=3)
    net = written(folder)
    with pytest.raises(Unavailable, match="probes fetch timm:test_resnet:pretrained"):
        pretrained.load(spec, data, Store(tmp_path / "s"))
    served(monkeypatch, address)
    monkeypatch.chdir(tmp_path)
    hub.fetch(spec)
    assert list(json.loads(Path(pins.FILE).read_text())) == ["timm:test_resnet:pretrained"]
    subject = pretrained.load(spec, data, Store(tmp_path / "s"))

    state = net.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in subject.model.net.state_dict().items())
    config = timm.get_pretrained_cfg("test_resnet")
    assert torch.allclose(subject.model.mean.flatten(), torch.tensor(config.mean))
    assert f"resized from 32 to {config.input_size[-1]} px" in subject.notes[-1]


def served(monkeypatch, address):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )


def test_a_host_that_can_not_be_reached_is_said_with_a_way_round(monkeypatch):
    import huggingface_hub

    def refuse(*_):
        raise ConnectionError("no route to host")  # the hub's own tries take half a minute

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(Unavailable, match="on another machine"):
        hub.fetch(parse("timm:test_resnet:pretrained"))


def test_a_network_without_its_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(Unavailable, match=r"pip install 'neural-probes\[timm\]'"):
        nets["timm:resnet18"]


# --- Hugging Face


def saved(folder, labels=("cat", "dog"), **more):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )
    torch.manual_seed(1)
    net = transformers.ViTForImageClassification(config)
    net.save_pretrained(folder, **more)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "do_normalize": True,
                "image_mean": [0.1, 0.2, 0.3],
                "image_std": [0.4, 0.5, 0.6],
                "size": {"height": 32, "width": 32},
            }
        )
    )
    return net.eval()


@pytest.mark.parametrize("how", [{}, {"max_shard_size": "10KB"}], ids=["one file", "shards"])
def test_a_folder_of_transformers_is_a_network_with_its_weights(how, tmp_path):
    net, data = saved(tmp_path / "vit", **how), colours(classes=2, side=48)
    subject = pretrained.load(parse(f"hf:{tmp_path / 'vit'}@c"), data, Store(tmp_path / "s"))
    x = torch.from_numpy(data.images).float() / 255
    small = torch.nn.functional.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    with torch.no_grad():
        wanted = net((small - mean[:, None, None]) / std[:, None, None]).logits
        assert torch.allclose(subject.model(x), wanted, atol=1e-6)
    assert "resized from 48 to 32 px and normalised by mean 0.1 0.2 0.3" in subject.notes[-1]


def test_residual_sums_of_transformers_are_read(tmp_path):
    net = saved(tmp_path / "vit")
    with torch.no_grad(), tap(net) as seen:
        net(torch.rand(3, 3, 32, 32))
    sites = residuals(net, torch.zeros(2, 3, 32, 32))

    assert [s.shortcut for s in sites] == ["identity"] * 4  # attention and MLP of two layers
    assert list(seen) == [s.name for s in sites]
    for s in seen.values():
        assert s["h"].shape == (3, 16, 17, 1)
        assert torch.allclose(s["x"] + s["h"], s["sum"], atol=1e-6)


def test_weights_that_are_partly_missing_are_refused(tmp_path):
    saved(tmp_path / "vit")
    path = tmp_path / "vit" / "model.safetensors"
    state = load_file(path)
    save_file({k: v for k, v in state.items() if "classifier" not in k}, path, {"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 'classifier\.bias' and 1 more"):
        pretrained.load(
            parse(f"hf:{tmp_path / 'vit'}@c"), colours(classes=2), Store(tmp_path / "s")
        )


def test_the_same_classes_in_another_order_are_refused(tmp_path):
    saved(tmp_path / "vit", labels=("C1", "C0"))
    with pytest.raises(BadInput, match="class 0 is 'C1', the dataset's is 'c0'"):
        pretrained.load(
            parse(f"hf:{tmp_path / 'vit'}@c"), colours(classes=2), Store(tmp_path / "s")
        )


def test_a_network_of_transformers_can_be_untrained(tmp_path):
    saved(tmp_path / "vit")
    data = load("mnist5k").sample(2)
    spec = parse(f"hf:{tmp_path / 'vit'}:untrained@mnist5k")
    subject = pretrained.load(spec, data, Store(tmp_path / "s"))
    with torch.no_grad():
        assert subject.model(torch.from_numpy(data.images).float() / 255).shape == (2, 10)


def test_a_folder_without_a_configuration_and_an_id_that_is_not_here_are_said(tmp_path):
    with pytest.raises(BadInput, match=r"no config\.json"):
        nets[f"hf:{tmp_path}"]
    with pytest.raises(Unavailable, match="probes fetch hf:nobody/nothing"):
        libraries.published(Spec("hf:nobody/nothing"))
