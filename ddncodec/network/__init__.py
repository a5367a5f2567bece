"""The network: a generator whose levels each propose K images, and the selection among them."""
