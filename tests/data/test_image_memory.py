"""Two hundred thousand colour images are trained on and measured in less memory than their bytes take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Of the whole process, PyTorch's 0.3 GB included; the images are 2.5 GB in bytes and 9.8 GB in float32.
MOST_BYTES = 1.5e9

PROGRAM = """
import hashlib, json, sys
from pathlib import Path
import h5py
import numpy as np
import torch
from torch import nn
from lde_bench import create
from lde_bench.data.base import Request
from lde_bench.data.image_cache import ImageFiles, ImageRecipe
from lde_bench.data.image_files import Origin, load_image_files
from lde_bench.evaluation import memorisation
from lde_bench.evaluation.parzen import parzen_log_prob
from lde_bench.evaluation.sample_measures import SampleSets, measure_samples, sample_metrics
from lde_bench.generators.autoencoder import Autoencoder
from lde_bench.generators.latent_density import LatentDensity
from lde_bench.training.plan import Plan

torch.set_num_threads(1)
cache = Path(sys.argv[1])
counts = {"train": 160_000, "validation": 20_000, "test": 20_000}
names = {split: [f"{split}{i}" for i in range(n)] for split, n in counts.items()}
files = ImageFiles(cache, {name: "1" for split in names for name in names[split]}, lambda name: b"")
recipe = ImageRecipe("synthetic", "1-64-stretch", files, names, 64, "stretch")
draw = np.random.default_rng(0)
with h5py.File(recipe.path(cache), "w", libver="v110") as file:
    for split, n in counts.items():
        pixels = file.create_dataset(split, (n, recipe.features), np.uint8)
        block, digest = draw.integers(0, 256, (2000, recipe.features), np.uint8), hashlib.sha256()
        for start in range(0, n, 2000):
            pixels[start : start + 2000] = block
            digest.update(block.data)
        pixels.attrs["sha256"] = digest.hexdigest()
        file[f"{split}_files"] = np.arange(n)
    file["faults"] = np.frombuffer(b"{}", np.uint8)
    file.attrs.update(key=recipe.key)
del block

class Linear(Autoencoder):
    name = "linear"
    has_no_prior = True
    plans = dict.fromkeys(("quick", "standard", "paper"), Plan(steps=3, batch_size=128, rate=1e-3))

    def __init__(self):
        super().__init__((3, 64, 64), 4)
        self.encoder, self.decoder = nn.Linear(self.features, 4), nn.Linear(4, self.features)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return torch.sigmoid(self.decoder(z))

    def loss(self, x, progress):
        return ((self.decode(self.encode(x)) - x) ** 2).mean()

peaks = {}
def note(what):
    # Not getrusage: its peak is also that of the process that started this one.
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    peaks[what] = int(line.split()[1]) * 1024

note("start")
data = load_image_files(Origin("synthetic", "1", files, names), Request(cache_dir=cache))
note("load")
model = LatentDensity(Linear(), create("gaussian", features=4))
model.fit(data.train, data.validation, steps=3, device="cpu")
note("fit")
samples = model.sample(10_000)
note("sample")
parzen_log_prob(data.test.first(3000), samples[:50], 0.1)
note("parzen")
memorisation.ROWS = 20  # its time, and not its memory, goes with the training images
sets = SampleSets(
    train=data.train,
    test=data.test,
    samples=samples,
    seed=0,
    validation=data.validation,
    reconstruct=model.reconstructs,
    code_log_prob=model.code_log_prob,
    image_shape=data.image_shape,
)
names = set(sample_metrics()) - {"density-coverage"}  # made of the same distances as precision and recall
assert measure_samples(sets, sorted(names))
note("measures")
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # two minutes of processor time
def test_a_large_set_of_images_takes_little_memory(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    peaks = json.loads(ended.stdout)
    print(", ".join(f"{what} {peak / 1e9:.2f} GB" for what, peak in peaks.items()))
    assert max(peaks.values()) < MOST_BYTES
