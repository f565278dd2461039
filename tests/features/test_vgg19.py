"""VGG19 held to an independent computation, its distance to one by hand, and every fault of its weights."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from lde_bench.data.base import content_hash
from lde_bench.errors import InputError
from lde_bench.features import kept, vgg19_weights
from lde_bench.features.vgg19 import Vgg19, perceptual_distance, use_weights, vgg19
from lde_bench.features.vgg19_weights import KEPT_FILE, LAYERS, NAMES, TORCHVISION_FILE, load_weights
from lde_bench.files import file_sha256


@pytest.fixture
def pth(vgg_weights, tmp_path, monkeypatch) -> Path:
    """The same numbers as torchvision's file has them, among others."""
    state = {
        f"features.{place}.{part}": torch.from_numpy(vgg_weights[f"{layer}.{part}"])
        for layer, place in LAYERS.items()
        for part in ("weight", "bias")
    }
    path = tmp_path / "site" / TORCHVISION_FILE
    path.parent.mkdir()
    torch.save({**state, "classifier.0.weight": torch.zeros(3, 3)}, path)
    monkeypatch.setattr(vgg19_weights, "TORCHVISION_SHA256", file_sha256(path)[:8])
    return path


# The network


def by_hand(image: np.ndarray, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """relu1_1, relu2_1, conv3_1 of one image [3, H, W] in float64, by SciPy's direct correlation."""

    def convolve(x: np.ndarray, layer: str) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        kernels, biases = (weights[f"{layer}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        maps = [correlate(padded, kernel, "valid", "direct")[0] for kernel in kernels]
        return np.stack(maps) + biases[:, None, None]

    def pool(x: np.ndarray) -> np.ndarray:
        return np.maximum.reduce([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])

    x = (image - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    relu1_1 = np.maximum(convolve(x, "conv1_1"), 0)
    relu2_1 = np.maximum(convolve(pool(np.maximum(convolve(relu1_1, "conv1_2"), 0)), "conv2_1"), 0)
    return [relu1_1, relu2_1, convolve(pool(np.maximum(convolve(relu2_1, "conv2_2"), 0)), "conv3_1")]


def photograph(height: int, width: int) -> np.ndarray:
    """A piece of the astronaut, float64 [3, height, width] in [0, 1]."""
    from skimage import data

    return data.astronaut()[90 : 90 + height, 200 : 200 + width].transpose(2, 0, 1) / 255


@pytest.mark.slow
@pytest.mark.parametrize("source", ["vgg_weights", pytest.param("real_vgg_weights", marks=pytest.mark.real_data)])
def test_the_features_are_those_of_an_independent_computation(source, request):
    weights = request.getfixturevalue(source)
    image = photograph(12, 16)
    features = Vgg19(weights)(torch.from_numpy(image[None]).float())
    for ours, theirs in zip(features, by_hand(image, weights), strict=True):
        assert ours[0].shape == theirs.shape
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())
    assert features[0].min() == features[1].min() == 0 > features[2].min()  # the last is cut before its ReLU


def test_a_grey_image_is_its_three_equal_channels(vgg_file):
    use_weights(vgg_file)
    grey = torch.rand(2, 1, 8, 8)
    for one, three in zip(vgg19()(grey), vgg19()(grey.expand(-1, 3, -1, -1)), strict=True):
        assert torch.equal(one, three)


def test_the_distance_is_half_the_sum_of_three_mean_squares(vgg_file, vgg_weights):
    use_weights(vgg_file)
    one, other = photograph(8, 8), photograph(8, 12)[:, :, 4:]
    pairs = zip(by_hand(one, vgg_weights), by_hand(other, vgg_weights), strict=True)
    expected = 0.5 * sum(np.square(mine - theirs).mean() for mine, theirs in pairs)
    decoded, target = (torch.from_numpy(image[None]).float() for image in (one, other))
    assert perceptual_distance(decoded, target).item() == pytest.approx(expected, rel=1e-5)
    assert perceptual_distance(decoded, decoded).item() == 0


def test_gradients_flow_to_the_decoded_images_alone_and_are_those_of_differences(vgg_file):
    use_weights(vgg_file)
    decoded, target = torch.rand(1, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 8, 8, requires_grad=True)
    perceptual_distance(decoded, target).backward()
    assert target.grad is None
    assert list(vgg19().parameters()) == []
    direction = decoded.grad / decoded.grad.norm()
    with torch.no_grad():
        ahead, behind = (perceptual_distance(decoded + step * direction, target) for step in (1e-3, -1e-3))
    assert ((ahead - behind) / 2e-3).item() == pytest.approx(decoded.grad.norm().item(), rel=0.02)


def test_the_distance_is_float32_and_nearly_the_same_under_autocast(vgg_file):
    use_weights(vgg_file)
    decoded, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = perceptual_distance(decoded, target)
        layers = vgg19()(decoded)
    assert {mixed.dtype, *(layer.dtype for layer in layers)} == {torch.float32}
    assert mixed.item() == pytest.approx(perceptual_distance(decoded, target).item(), rel=0.02)


def test_reading_the_network_in_the_middle_of_a_training_draws_no_random_numbers(vgg_file):
    use_weights(vgg_file)
    before = torch.get_rng_state()
    vgg19()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (3, 8, 8), (1, 3, 3, 8)])
def test_images_of_another_shape_are_refused(vgg_file, shape):
    use_weights(vgg_file)
    with pytest.raises(InputError, match=r"expected images \(3, H, W\) or \(1, H, W\) with sides of 4 or more, got"):
        perceptual_distance(torch.zeros(shape), torch.zeros(shape))


# The weights


@pytest.mark.parametrize(
    "place",
    [
        "data/vgg19/vgg19_layers.npz",
        f"data/vgg19/{TORCHVISION_FILE}",
        f"cache/{KEPT_FILE}",
        f"torch/hub/checkpoints/{TORCHVISION_FILE}",
    ],
)
def test_the_weights_are_found_in_every_place(place, vgg_weights, vgg_file, pth, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir(exist_ok=True)
    monkeypatch.setenv("LDE_BENCH_DATA", str(tmp_path / "data"))
    target = tmp_path / place
    target.parent.mkdir(parents=True)
    (vgg_file if target.suffix == ".npz" else pth).rename(target)
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)


def test_a_damaged_copy_of_our_own_is_fetched_again(site, vgg_weights, tmp_path, caplog):
    path = tmp_path / "cache" / KEPT_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no zip")
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)
    assert "is damaged, or may not be read, and is fetched again" in caplog.text
    assert path.stat().st_size > 1000
    assert not (tmp_path / "cache" / TORCHVISION_FILE).exists()


def test_a_copy_that_may_not_be_read_now_is_not_removed(vgg_file, tmp_path, monkeypatch):
    path = tmp_path / "cache" / KEPT_FILE
    path.parent.mkdir(parents=True)
    vgg_file.rename(path)

    def refuse(place, *arguments, **options):
        raise InputError(f"{place}: may not be read")

    monkeypatch.setattr(vgg19_weights, "_read", refuse)
    monkeypatch.setattr(vgg19_weights, "download", refuse)
    with pytest.raises(InputError, match="may not be read"):
        load_weights(None)
    assert path.is_file()


def test_a_large_file_that_was_damaged_on_its_way_is_fetched_again(site, vgg_weights, tmp_path):
    path = tmp_path / "cache" / TORCHVISION_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)
    assert not path.exists()


def test_the_large_file_is_read_once(vgg_weights, pth, tmp_path):
    load_weights(pth)
    pth.unlink()
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)
    assert (tmp_path / "cache" / KEPT_FILE).stat().st_size < 3e6


def test_a_cache_that_cannot_be_written_is_told_and_is_no_error(vgg_weights, pth, tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(kept, "_cache_dir", tmp_path / "file" / "cache")
    assert content_hash(load_weights(pth)) == content_hash(vgg_weights)
    assert f"{KEPT_FILE} is not kept" in caplog.text


@pytest.fixture
def site(pth, monkeypatch):
    """An address that serves the folder of `pth`."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments, directory=str(pth.parent))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(vgg19_weights, "URLS", (f"http://127.0.0.1:{server.server_port}/{TORCHVISION_FILE}",))
    yield
    server.shutdown()
    server.server_close()


def test_with_nothing_at_hand_the_file_is_downloaded_and_its_layers_alone_are_kept(site, vgg_weights, pth, tmp_path):
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)
    pth.unlink()
    assert content_hash(load_weights(None)) == content_hash(vgg_weights)
    assert [path.name for path in (tmp_path / "cache").glob("vgg19*") if path.suffix != ".lock"] == [KEPT_FILE]


def test_a_download_of_another_file_is_refused_and_leaves_nothing(site, pth, tmp_path):
    pth.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"wrong SHA-256; .*--vgg FILE.*--perceptual 0.*--features"):
        load_weights(None)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_weights_that_are_nowhere_are_one_sentence_with_both_remedies(vgg_weights):
    with pytest.raises(InputError, match=r"could not be reached.*--vgg FILE.*--perceptual 0.*--features"):
        perceptual_distance(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))


def damage(kind: str, npz: Path, pth: Path) -> Path:
    """A file with this fault."""
    if kind == "absent":
        npz.unlink()
    elif kind == "cut short":
        npz.write_bytes(npz.read_bytes()[:1000])
    elif kind in ("other numbers", "other precision", "another shape", "a layer missing"):
        with np.load(npz) as content:
            arrays = dict(content)
        name = "conv2_1.bias"
        arrays[name] = {
            "other numbers": arrays[name] * np.float32(2),
            "other precision": arrays[name].astype(np.float64),
            "another shape": arrays[name][:, None],
            "a layer missing": arrays[name],
        }[kind]
        if kind == "a layer missing":
            del arrays[name]
        np.savez(npz, **arrays)
    else:
        pth.write_bytes(pth.read_bytes() + b" ")
        return pth
    return npz


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "own.npz: no such file; "),
        ("cut short", "own.npz: is no whole .npz archive; "),
        ("a layer missing", "own.npz: the array 'conv2_1.bias' is missing"),
        ("other numbers", "own.npz: does not hold the numbers of torchvision's VGG19 up to conv3_1; "),
        ("other precision", "own.npz: does not hold the numbers"),
        ("another shape", "own.npz: does not hold the numbers"),
        ("a large file of another hash", f"{TORCHVISION_FILE}: is not torchvision's file, whose SHA-256 begins with "),
    ],
)
def test_faults_of_a_file_are_one_sentence_with_both_remedies(kind, message, vgg_file, pth):
    use_weights(damage(kind, vgg_file, pth))
    with pytest.raises(InputError, match=message) as fault:
        vgg19()
    assert str(fault.value).endswith(
        "by --vgg FILE, or do without the network: train with --perceptual 0, and compare in --features pixels."
    )


def test_a_large_file_with_other_contents_is_refused_though_its_hash_begins_alike(pth, monkeypatch):
    torch.save({"features.0.weight": torch.zeros(1)}, pth)
    monkeypatch.setattr(vgg19_weights, "TORCHVISION_SHA256", file_sha256(pth)[:8])
    with pytest.raises(InputError, match=r"cannot be read .*features\.0\.bias"):
        load_weights(pth)


@pytest.mark.real_data
def test_the_file_of_these_tests_is_torchvisions(real_vgg_weights):
    assert list(real_vgg_weights) == list(NAMES)
