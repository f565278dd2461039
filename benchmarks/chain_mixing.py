"""Does the Markov chain of a Deep GSN mix, as the published 10,000 samples, successive steps of one chain, need it to?

    python benchmarks/chain_mixing.py WEIGHTS

Takes a trained `deep-gsn` of MNIST, e.g. the weights beside a record of `lde-bench parzen --methods deep-gsn`. One
chain runs 10,000 steps from a test image, as published; how often its class changes, by the classifier of MNIST that
comes with the package, and which classes it sees, says how many independent images these steps are worth. And 1,000
chains start at test images: the share of them that are still in the class where they began, against the number of
steps; of a chain that has forgotten its start it is what a pair of its images agree by chance.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from short_runs import exit_code, positive

import lde_bench as lb
from lde_bench.errors import InputError
from lde_bench.features.mnist_network import IMAGE_SHAPE, mnist_classifier
from lde_bench.generators.deep_gsn import DeepGSN
from lde_bench.progress import say

#: Steps of the one chain, and chains that are watched side by side for so many steps.
STEPS, CHAINS = 10_000, 1_000
AT = (1, 3, 10, 30, 100, 300, 1_000)


@torch.no_grad()
def classes_of_chains(model: DeepGSN, images: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """The class of every image of chains that start at `images` [n, 784]: int [steps, n]."""
    generator = torch.Generator().manual_seed(seed)
    classifier = mnist_classifier()
    state, classes = model.start(torch.from_numpy(images)), []
    for _ in range(steps):
        logits, state = model.update(state, generator)
        classes.append(classifier(torch.sigmoid(logits).view(-1, *IMAGE_SHAPE)).argmax(1).numpy())
    return np.stack(classes)


def report(path: str, seed: int) -> None:
    """Print what the chains of the model in this file do."""
    model = lb.load_generator(path)
    if not isinstance(model, DeepGSN) or model.features != 784:
        raise InputError(f"{path} holds no deep-gsn of MNIST; give the weights of one.")
    test = np.asarray(lb.load_dataset("mnist").test[:CHAINS], dtype=np.float32)
    one = classes_of_chains(model, test[:1], STEPS, seed)[:, 0]
    counts = np.bincount(one, minlength=10)
    changes = int((one[1:] != one[:-1]).sum())
    say(f"one chain of {STEPS:,} steps: class changes {changes:,}, steps in each class {counts.tolist()}")
    many = classes_of_chains(model, test, max(AT), seed + 1)
    share = np.bincount(many[-1], minlength=10) / CHAINS
    for step in AT:
        say(f"still in the first step's class at step {step}: {(many[step - 1] == many[0]).mean():.3f}")
    say(f"by chance, of the classes at step {max(AT):,}: {(share**2).sum():.3f}; shares {share.round(3).tolist()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="the .safetensors of a deep-gsn of MNIST")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive(int), default=1)
    asked = parser.parse_args()
    sys.exit(exit_code(asked.threads, lambda: report(asked.weights, asked.seed)))
