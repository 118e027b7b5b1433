"""Fixtures of the attacks that SECURITY.md lists."""

from tests.world.fixtures import reasons_seen_are_listed, shop

__all__ = ["reasons_seen_are_listed", "shop"]
