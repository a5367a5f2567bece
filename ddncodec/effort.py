"""How hard an encoder looks for good picks. It costs encode time alone: the file and the decoder do not know."""

GREEDY = 1  # the nearest proposal at every level, as in the paper
MAX_EFFORT = 2  # the best picks of a whole block, where the network has a trellis
