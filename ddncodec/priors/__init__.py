"""Priors: how likely paths are, which samples follow. A prior lies in a file of its own, beside its weights.

`odds` are counts of picks, `counting` counts them over images, and `file` keeps them.
"""
