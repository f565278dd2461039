"""The one training loop: plans and budgets, batches, learners, checkpoints, device and precision.

It knows nothing of any model: it drives whatever offers the `Learner` methods (`lde_bench.training.learner`).
"""
