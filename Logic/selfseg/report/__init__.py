"""One page that says how good a model is, what it was made from and how to use it.

`content` holds what a report tells, `summary` counts the scores, `story` and `trust` put them in
words, `figures`, `data_figures`, `trust_figures`, `overlays` and `surfaces` draw, `html` puts the
page together and writes it, `numbers` writes the same as JSON.
"""
