"""One page that says how good a model is, what it was made from and how to use it.

`content` holds what a report tells, `summary` counts the scores, `figures` and `overlays` draw,
`html` puts the page together and writes it.
"""
