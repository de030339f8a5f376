"""Runs Jobs: pods until so many have succeeded, or too many failed.

`controller.py` is the shape of every controller; `counting.py` says what has become of the pods, `outcome.py` whether
the Job is over, `making.py` which pods come and go, `backoff.py` how long a Job waits after failures, `indexes.py` how
numbers of pods are written.
"""
