"""Many trainings at once: on this machine's graphics cards, on a Slurm cluster, with Ray."""
