"""The paper's generators: DDLs of learned output nodes over learned features, split and pruned in training.

A reader of the paper begins at `ddl` (Fig. 3a), then `single_shot` (Fig. 3b) or `recurrent` (Fig. 3c).
"""
