"""How hard an encoder looks for good picks. It costs encode time alone: the file and the decoder do not know."""

GREEDY = 1  # the nearest proposal at every level, as in the paper
LOOK_AHEAD = 2  # the best picks of a whole block, where the network has a trellis
CLOSED_LOOP = 3  # the highest of those, several times: each time what the decoder made of the picks is looked at
