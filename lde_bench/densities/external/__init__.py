"""Densities of a user's own: any class with `fit` and `log_prob` or `score_samples`, made a `Density`.

Four kinds of class are taken, spelled `package.module:Class` or found under the entry points `lde_bench.densities`:

- a `Density`, as it is;
- the torch habit, `fit` and `log_prob`; NumPy arrays, float32, are tried before tensors, the other way round for the
  `log_prob` of an `nn.Module`;
- the scikit-learn habit, `fit` and `score_samples`, on float64 arrays;
- an `nn.Module` without `fit` whose call returns a distribution (the zuko habit), or that has `log_prob` itself. It is
  trained by our loop.

The constructor is given the number of features where it has an argument named as one of `contract.FEATURES`, the seed
where it has `random_state` or `seed`, and what the method spells; `components` stands for whichever of
`contract.COMPONENTS` it has. Its own `fit` is given the training array, and those of `validation`, `seed`, `steps`,
`profile`, `random_state` that its signature names. A class is tried on a few synthetic rows before it is given the
data: `probe`.

Every method is given rows of its own, which it may change, and runs in `lde_bench.process.process_unchanged`: what one
class does changes nothing for the others, nor for its own evaluation.
"""

from lde_bench.densities.external.adapters import STEPS
from lde_bench.densities.external.finding import entry_points, external_class
from lde_bench.densities.external.probing import probe

__all__ = ["STEPS", "entry_points", "external_class", "probe"]
