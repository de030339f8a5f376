"""DaemonSets: one pod of a template on every node that suits it.

Read first: `controller.py`, one turn from top to bottom. `nodes.py` says where pods belong and what they look like,
`rolling.py` how old ones give way to new ones.
"""
