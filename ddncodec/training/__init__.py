"""Training: data, the start of the nodes from data, the trainer, and checkpoints that resume."""
