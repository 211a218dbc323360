"""Segmenting a folder of scans."""
