"""Priority and fairness: which requests run now, which wait, which are refused (KEP-1040).

Every request belongs to a FlowSchema (`matching.py`), which names its priority level and what makes a flow. A level has
seats; a request takes some of them while it runs (`width.py`). Requests that find no seat wait in their level's queues,
and flows share those fairly (`fair_queue.py`, **read first**). Levels lend each other seats that they don't need
(`borrowing.py`). `levels.py` holds it together, `upkeep.py` keeps the objects that say all this (`defaults.py`), and
`apiserver.filters.flow_control` is the only caller. All but `upkeep.py` is pure: the time is an argument.
"""
