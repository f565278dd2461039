"""What gives a verdict: laws (`check`), baselines (`regress`), paired differences (`compare`)."""
