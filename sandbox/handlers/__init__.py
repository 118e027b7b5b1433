"""The interfaces, grouped as in the quick start; importing this package registers all of them."""

import pkgutil
from importlib import import_module

from sandbox.handlers.registry import ROUTES as ROUTES
from sandbox.handlers.registry import Route as Route
from sandbox.handlers.registry import routes_by_service_id as routes_by_service_id

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
