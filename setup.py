"""What pyproject.toml cannot say: a wheel has the Python code for protos/ in it, made while it is built.

From a clone it is in stubs/ (`make proto`), and an editable installation takes it from there.
"""

from __future__ import annotations

import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py


class WithStubs(build_py):
    """The packages, and beside them `jzb` and `buf`, which are not in version control."""

    def run(self) -> None:
        """Copy the packages, then generate."""
        super().run()
        if not self.editable_mode:
            subprocess.run([sys.executable, "scripts/stubs.py", self.build_lib], check=True)


setup(cmdclass={"build_py": WithStubs})
