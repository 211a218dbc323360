"""The types that flow through the house: frozen, valid once built, no I/O, no torch."""
