"""Samplers: what decides, at every level, which of the K proposals is taken.

`protocol` is what a generator and a sampler say to each other; each other file is one sampler, but for `streams`, where
their random numbers come from.
"""
