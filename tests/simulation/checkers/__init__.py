"""What must be true: one invariant a file, each a `Checker`. `ALL` makes one of each for a run."""

from tests.simulation.checkers.binding import Binding
from tests.simulation.checkers.capacity import Capacity
from tests.simulation.checkers.checker import Checker
from tests.simulation.checkers.owners import Owners
from tests.simulation.checkers.replicas import Replicas
from tests.simulation.checkers.sandboxes import Sandboxes
from tests.simulation.checkers.watches import Watches

ALL: tuple[type[Checker], ...] = (Binding, Capacity, Owners, Replicas, Sandboxes, Watches)
