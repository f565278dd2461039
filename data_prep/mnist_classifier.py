"""How the classifier of digits is trained whose last hidden layer is the feature space `mnist`.

    python data_prep/mnist_classifier.py [--data-dir FOLDER] [--out FILE]

FOLDER holds mnist/. It trains on the 55,000 training images alone, in about three minutes on one thread; test
images are looked at once, at the end. The network is `lde_bench/features/mnist_network.py`, the recipe
`lde_bench/features/mnist_training.py`, and the file that is written, the same to the byte on one kind of machine with
one version of torch, is shipped as `lde_bench/features/data/mnist_classifier.safetensors`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from lde_bench.data import load_dataset
from lde_bench.errors import InputError
from lde_bench.features.mnist_training import Recipe, accuracy, packed, train_classifier
from lde_bench.files import write_bytes_atomic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("mnist_classifier.safetensors"))
    options = parser.parse_args()

    torch.set_num_threads(1)  # sums are rounded otherwise on more
    data, recipe = load_dataset("mnist", data_dir=options.data_dir, progress=True), Recipe()
    if data.train_labels is None or data.validation_labels is None or data.test_labels is None:
        raise InputError("mnist: the labels are not at hand; put the idx1-ubyte files beside those of the images.")
    classifier = train_classifier(
        data.train,
        data.train_labels,
        recipe,
        lambda epoch, loss: print(f"epoch {epoch} of {recipe.epochs}: {loss:.4f} nats", flush=True),
    )
    header = {
        "recipe": asdict(recipe),
        "dataset": [data.name, data.version, data.content_hash],
        "training_images": len(data.train),
        "validation_accuracy": accuracy(classifier, data.validation, data.validation_labels),
        "test_accuracy": accuracy(classifier, data.test, data.test_labels),
        "torch": torch.__version__,
    }
    content = packed(classifier, header)
    write_bytes_atomic(options.out, content)
    print(header)
    print(f"{options.out}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
