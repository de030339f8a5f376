"""`steer bench`: what a cluster costs and how fast it is, in figures that can be compared.

Every measurement prints the machine it ran on, medians and spread, and takes what it is compared with in the same
interleaved run, since two runs on one machine differ more than two versions of a program. `report.py` holds the
figures, `kube.py` is a small client of the REST API, and each measurement has a file.
"""
