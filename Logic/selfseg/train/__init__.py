"""Learning a network from preprocessed cases: batches, loss, loop, checkpoints, timing."""
