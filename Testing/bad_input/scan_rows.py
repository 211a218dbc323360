from .rows import Row

SCANS: tuple[Row, ...] = ()
