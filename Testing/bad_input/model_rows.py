from .rows import Row

MODELS: tuple[Row, ...] = ()
