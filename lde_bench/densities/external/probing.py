"""Tries a class of a user's own on a few synthetic rows, before it is given the data."""

from __future__ import annotations

import torch

from lde_bench.densities.base import Density
from lde_bench.densities.external.adapters import Adapter
from lde_bench.densities.external.contract import checked, probe_rows, told
from lde_bench.errors import InputError


def probe(density: Density) -> None:
    """Try a density of a user's own, alone or inside wrappers, on a few synthetic rows; others are not touched.

    Raises:
        InputError: it does not keep the contract; one sentence says which method, and what was expected.
    """
    for module in density.modules():
        if isinstance(module, Adapter):
            module.habits  # noqa: B018 (measured for what it raises)
        elif isinstance(module, Density) and module.origin:
            rows = probe_rows(5, module.features)
            try:
                with torch.no_grad():
                    values = module(rows)
            except Exception as error:  # whatever a user's density raises
                raise InputError(
                    f"{module.name}: forward raised {told(error)} on a tensor {list(rows.shape)}; it should take "
                    "[n, D] and return [n] nats."
                ) from error
            checked(module.name, "forward", values, len(rows))
