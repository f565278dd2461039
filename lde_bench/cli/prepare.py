"""`lde-bench prepare`."""

from __future__ import annotations

import json as json_module
from typing import Annotated

from cyclopts import Parameter

from lde_bench.cli.app import PICTURE_OPTIONS, CacheDir, DataDir, Json, PictureOptions, Seed, app
from lde_bench.errors import InputError


@app.command
def prepare(
    dataset: str,
    *,
    seed: Annotated[Seed, Parameter(help="Of the preparation: same seed, same bytes.")] = 0,
    pictures: PictureOptions = PICTURE_OPTIONS,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> int:
    """Fetch and prepare a dataset, e.g. `lde-bench prepare bsds300`, and print what was made."""
    from lde_bench.data import datasets, load_dataset

    entry = datasets().get(dataset)
    if seed and entry is not None and not entry.is_drawn:
        raise InputError(f"{dataset} is the same whatever --seed {seed} says, as nothing of it is drawn; leave it out.")
    data = load_dataset(dataset, data_dir=data_dir, cache_dir=cache_dir, seed=seed, progress=True, **pictures.asked())
    if json:
        facts = {"name": data.name, "version": data.version, "seed": data.seed, "sizes": data.sizes}
        print(json_module.dumps({**facts, "features": data.features, "content_hash": data.content_hash}, indent=2))
    else:
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        print(f"{data.name} version {data.version}, seed {data.seed}: {sizes}; {data.features} features")
        print(f"content hash {data.content_hash}")
    return 0
