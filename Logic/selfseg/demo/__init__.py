"""Made-up data sets, so that everything can be tried without a patient's scan.

`synthetic.make_dataset` writes a small abdominal CT collection with a liver, two kidneys and
liver lesions, `synthetic.make_small_dataset` tiny data sets of every kind (3D, 2D, colour,
regions, ignore label) for quick trials and tests. `phantom` holds the anatomy.
"""
