"""One file = one table or figure of the paper; `density_trials` is what the density tables share."""
