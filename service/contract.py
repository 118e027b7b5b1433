"""The RPCs of jzb.v1, by their names: what the contract itself says of them, without any code of the service."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from google.protobuf.descriptor import MethodDescriptor

import jzb.v1


@cache
def methods() -> dict[str, MethodDescriptor]:
    """Every RPC of the contract, as Service.Method."""
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.iter_modules(jzb.v1.__path__):
        if module.name.endswith("_pb2"):
            file = import_module(f"jzb.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                found |= {f"{service.name}.{method.name}": method for method in service.methods}
    return found


def path_of(method: MethodDescriptor) -> str:
    """How a call names its RPC: jzb.v1.PaymentService/Pay."""
    return f"{method.containing_service.full_name}/{method.name}"
