"""`jzb reconcile`: has the service load and match bank days, and shows what they lack, in yuan.

A client of the gRPC API and of nothing else, as `jzb demo` is. It prints a table of the days' files and lists, and one
of the breaks with the next step of each; `--out` writes both, every line of the bank's and the balance proof, for Excel
or for programs.
"""

from __future__ import annotations

from service.process.reconcile.run import reconcile

__all__ = ["reconcile"]
