"""Fingerprint to Plan: every decision before training, in milliseconds and without torch."""
