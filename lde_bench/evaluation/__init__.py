"""Measuring densities: the laws they must obey, errors of a mean log-likelihood, the Parzen window.

One file = one measure. Nothing is imported here, so that a NumPy-only measure does not import torch.
"""
