"""Tests that uvicorn and httptools have the attributes and methods that Hexapost uses or overrides.

A failure after an upgrade names what changed. Adapt the module, then raise the upper bound in pyproject.toml.
"""

import ast
import inspect
import tomllib
from dataclasses import fields
from importlib.metadata import version
from types import ModuleType

import httptools
import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from adapters.http.middleware import http_protocol
from adapters.http.middleware.http_protocol import BoundedHttpProtocol, TransportMethods
from adapters.server import uvicorn_server
from adapters.server.uvicorn_server import Server
from tests.cli.support import ROOT


async def _app(scope: object, receive: object, send: object) -> None: ...


def base_protocol() -> HttpToolsProtocol:
    """Return uvicorn's protocol during a request."""
    protocol = HttpToolsProtocol(uvicorn.Config(_app, log_config=None), ServerState(), {})
    protocol.on_message_begin()
    return protocol


def used_attributes(module: ModuleType, *objects: str) -> set[str]:
    """Return the attributes of these expressions that a module uses."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) in objects}


def assigned_attributes(module: ModuleType) -> set[str]:
    """Return the attributes of `self` that only this module defines, which begin with an underscore."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    stores = (node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return {node.attr for node in stores if ast.unparse(node.value) == "self" and node.attr.startswith("_")}


def test_uvicorn_uses_only_the_replaced_methods_of_the_transport() -> None:
    used = used_attributes(httptools_impl, "self.transport") - {"set_protocol"}  # for WebSockets
    assert used == {field.name for field in fields(TransportMethods)}


async def test_protocol_has_the_used_attributes() -> None:
    own = vars(BoundedHttpProtocol).keys() | assigned_attributes(http_protocol)
    inherited = used_attributes(http_protocol, "self") - own
    assert {"parser", "loop", "cycle", "timeout_keep_alive_task", "_unset_keepalive_if_required"} <= inherited
    protocol = base_protocol()
    assert {name for name in inherited if not hasattr(protocol, name)} == set()
    overridden = used_attributes(http_protocol, "super()")
    assert {"connection_made", "on_headers_complete"} <= overridden
    assert {name for name in overridden if not hasattr(HttpToolsProtocol, name)} == set()


def test_request_cycle_has_the_used_attributes() -> None:
    used = used_attributes(http_protocol, "cycle", "self.cycle")
    assert {"keep_alive", "response_complete", "message_event", "scope"} <= used
    source = inspect.getsource(RequestResponseCycle.__init__)
    assert {name for name in used if f"self.{name} =" not in source and f"self.{name}:" not in source} == set()


def test_parser_has_the_used_attributes() -> None:
    used = used_attributes(http_protocol, "self.parser")
    assert {"feed_data", "should_upgrade", "get_method", "get_http_version"} <= used
    assert {name for name in used if not hasattr(httptools.HttpRequestParser, name)} == set()
    assert issubclass(httptools.HttpParserUpgrade, Exception)
    assert issubclass(httptools.HttpParserError, Exception)


def test_server_has_the_used_attributes() -> None:
    server = uvicorn.Server(uvicorn.Config(_app, log_config=None))
    used = used_attributes(uvicorn_server, "self") - vars(Server).keys()
    own = {"container", "background_task"} | assigned_attributes(uvicorn_server)
    at_start = {"servers", "lifespan"}  # set by the start of the server
    assert {name for name in used - own - at_start if not hasattr(server, name)} == set()
    assert all(f"self.{name} =" in inspect.getsource(uvicorn.Server) for name in at_start)
    assert hasattr(server.server_state, "connections")
    assert hasattr(server.config, "http_protocol_class") or "http_protocol_class" in inspect.getsource(uvicorn.Config)


@pytest.mark.parametrize(
    ("own", "base"), [(BoundedHttpProtocol, HttpToolsProtocol), (Server, uvicorn.Server)], ids=["protocol", "server"]
)
def test_overridden_methods_have_the_parameters_of_uvicorn(own: type, base: type) -> None:
    names = {name for name, value in vars(own).items() if inspect.isfunction(value) and hasattr(base, name)}
    names.discard("__init__")
    assert len(names) > 1
    parameters = {name: [*inspect.signature(getattr(own, name)).parameters] for name in names}
    assert parameters == {name: [*inspect.signature(getattr(base, name)).parameters] for name in names}


def test_protocol_constructor_takes_config_state_and_lifespan_state() -> None:
    parameters = [*inspect.signature(HttpToolsProtocol).parameters]
    assert parameters[:3] == ["config", "server_state", "app_state"]


@pytest.mark.parametrize("library", ["uvicorn", "httptools"])
def test_upper_bound_admits_only_the_tested_minor_version(library: str) -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bounds,) = (found.specifier for text in dependencies if (found := Requirement(text)).name == library)
    major, minor, *_ = map(int, version(library).split("."))
    assert bounds.contains(version(library))
    assert not bounds.contains(f"{major}.{minor + 1}.0")
    assert not bounds.contains(f"{major + 1}.0")
