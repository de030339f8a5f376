"""The chain that every request passes, whichever door it came through; one filter a file.

A filter takes the rest of the chain and returns a handler. `apiserver.app` lists them, outermost first.
"""
