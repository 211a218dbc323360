"""The stages of an experiment, each on a project folder: look what is done, do the rest."""
