"""System calls of any program, intercepted: fail, shorten, drop or delay the Nth one, or kill right there.

Linux 5.6 or newer, by seccomp user notification from the standard library: no root, no compiler, no change of the
program. What runs under it are only processes that `run` starts.
"""

from premortem.faults.syscalls.by_recipe import ByRecipe, decide_by
from premortem.faults.syscalls.capability import why_not, why_not_all
from premortem.faults.syscalls.decisions import GO, Decision, Drop, Fail, Go, Kill, Pause, Sever, Short
from premortem.faults.syscalls.effects import Struck, can_strike
from premortem.faults.syscalls.marker import arm
from premortem.faults.syscalls.operations import Operation, sequence
from premortem.faults.syscalls.run import Ended, run

__all__ = [
    "GO",
    "ByRecipe",
    "Decision",
    "Drop",
    "Ended",
    "Fail",
    "Go",
    "Kill",
    "Operation",
    "Pause",
    "Sever",
    "Short",
    "Struck",
    "arm",
    "can_strike",
    "decide_by",
    "run",
    "sequence",
    "why_not",
    "why_not_all",
]
