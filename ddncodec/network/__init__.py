"""The networks: what every generator can do (`base`), and the two families, `paper` and `principal`."""
