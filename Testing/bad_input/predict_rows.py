from .rows import Row

PREDICTIONS: tuple[Row, ...] = ()
