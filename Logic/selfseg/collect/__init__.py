"""Segmented scans as they lie about, in files and scenes, gathered into one data set."""
