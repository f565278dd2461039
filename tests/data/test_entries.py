"""A dataset is one file: its entry says all there is to say, and no list elsewhere has to learn of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import lde_bench as lb
from lde_bench import data as data_package
from lde_bench.data import datasets, user_file
from lde_bench.data.base import DatasetEntry, ImageSettings
from lde_bench.experiments.parzen import load_images
from lde_bench.features import feature_spaces
from lde_bench.report.citations import references, samples_keys
from lde_bench.runs.record import DatasetInfo
from lde_bench.runs.rows import group_word, is_image, is_patch, item_word
from lde_bench.trials.images import setting


@pytest.mark.parametrize("name", datasets())
def test_an_entry_agrees_with_itself(name: str) -> None:
    entry = datasets()[name]
    assert (entry.items == "images") == (entry.images is not None)
    assert entry.items in ("patches", "images", "items")
    assert set(entry.folds) <= set(datasets())
    assert set(entry.bibtex) <= set(references())
    if entry.images is not None:
        assert entry.images.latent >= 1
        assert 0 < entry.images.warmup < 1
        assert (np.diff(entry.images.grid) > 0).all()
        assert entry.images.space in feature_spaces()


def test_the_settings_of_the_papers_datasets() -> None:
    told = {name: entry.images for name, entry in datasets().items() if entry.images is not None}
    assert {name: each.latent for name, each in told.items() if "fold" not in name} == {
        "celeba": 100,
        "digits32": 32,
        "digits8x8": 8,
        "faces-color": 100,
        "faces48": 15,
        "mnist": 8,
        "natural32": 32,
        "shoes": 100,
        "tfd": 15,
        "tfd-union": 15,
    }
    assert {name for name in told if "fold" in name} == {
        f"{name}-fold{fold}" for name in ("tfd", "tfd-union") for fold in range(1, 6)
    }
    assert (told["mnist"].space, told["digits8x8"].space) == ("mnist", "pixels")
    assert {each.space for name, each in told.items() if name not in ("mnist", "digits8x8")} == {"vgg"}
    assert (told["mnist"].warmup, told["celeba"].warmup) == (96 / 390, 100 / 200)
    np.testing.assert_array_equal(told["mnist"].grid, np.arange(0.1, 0.3, 0.01))
    np.testing.assert_array_equal(told["tfd-fold3"].grid, np.arange(0.001, 0.2, 0.005))


@pytest.mark.parametrize(
    ("name", "version", "latent"),
    [
        ("celeba", "1-128-stretch", 200),
        ("celeba", "1-unofficial-64-crop", 100),
        ("shoes", "1-stand-in-32-stretch", 32),
        ("faces-color+shoes", "1-128-crop+1-stand-in-128-crop", 200),
        ("natural32", "1", 32),
        ("holidays", "user-images-128-crop", 200),
        ("faces-color", "user-images-48-stretch", 100),
    ],
)
def test_the_size_of_the_code_goes_with_the_side(name: str, version: str, latent: int) -> None:
    entry = data_package.describe(name, version)
    assert (entry.items, entry.images.latent) == ("images", latent)


def info(name: str, version: str = "1") -> DatasetInfo:
    data = lb.load_dataset("digits8x8", train=5, validation=5, test=5)
    return DatasetInfo.of(dataclasses.replace(data, name=name, version=version))


@pytest.mark.parametrize(
    ("name", "version", "items", "group"),
    [
        ("bsds300", "1", "patches", "photograph"),
        ("bsds300-hdf5", "unofficial", "patches", "photograph"),
        ("tfd-fold4", "2-unofficial", "images", "group"),
        ("faces48", "1", "images", "person"),
        ("ring", "1", "items", "group"),
        ("mnist", user_file.VERSION, "items", "group"),
        ("nobody-knows", "1", "items", "group"),
    ],
)
def test_what_rows_and_groups_are_called(name: str, version: str, items: str, group: str) -> None:
    one = info(name, version)
    assert (item_word(one), group_word(one)) == (items, group)
    assert (is_patch(one), is_image(one)) == (items == "patches", items == "images")


def test_a_new_dataset_of_images_is_its_entry_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(request):
        return dataclasses.replace(datasets()["digits8x8"].load(request), name="brand-new")

    entry = DatasetEntry(
        "brand-new",
        "1",
        "images made up for this test",
        "nobody",
        load,
        items="images",
        group="painter",
        images=ImageSettings(latent=3, warmup=0.5, grid=np.array([0.1, 0.2])),
        bibtex=("yoo2020unpriortized",),
    )
    known = {**datasets(), entry.name: entry}
    for module in (data_package, "lde_bench.experiments.parzen", "lde_bench.report.citations"):
        monkeypatch.setattr(f"{getattr(module, '__name__', module)}.datasets", lambda: known)
    (loaded,) = load_images("brand-new")
    assert loaded.name == "brand-new"
    assert setting(loaded) is entry.images
    assert (item_word(info("brand-new")), group_word(info("brand-new"))) == ("images", "painter")
    assert "yoo2020unpriortized" in samples_keys()
