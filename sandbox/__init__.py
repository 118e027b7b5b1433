"""A bank to develop against: the other side of the wire, with books of its own.

`Sandbox` runs it inside a test, `python -m sandbox` as a process. It imports the wire's rules from
`bankclient` and nothing of the ledger or the service.
"""

from sandbox.control import books_view
from sandbox.gateway import Received
from sandbox.server import Sandbox
from sandbox.settings import SandboxSettings

__all__ = ["Received", "Sandbox", "SandboxSettings", "books_view"]
