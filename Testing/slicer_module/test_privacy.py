"""Nothing leaves the computer: no file of the module or of selfseg can open a connection."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

NETWORK = (
    "aiohttp", "boto3", "ftplib", "http", "huggingface_hub", "imaplib", "poplib", "requests",
    "sentry_sdk", "smtplib", "socket", "socketserver", "ssl", "telnetlib", "torch.hub",
    "urllib.request", "urllib3", "wandb", "webbrowser", "websocket", "xmlrpc",
)  # fmt: skip

ALLOWED = {
    # Opens the report, a file, where the user asked with --open.
    "Logic/selfseg/cli/verbs.py": {"webbrowser"},
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses_the_network(name: str) -> str | None:
    return next((module for module in NETWORK if f"{name}.".startswith(f"{module}.")), None)


def test_no_file_imports_what_could_send() -> None:
    found = {}
    for folder in ("Logic", "SelfConfiguringSegmentation"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            name = path.relative_to(PROJECT).as_posix()
            used = {uses_the_network(entry) for entry in imports_of(path)} - {None}
            if used - ALLOWED.get(name, set()):
                found[name] = used
    assert not found


def test_network_code_would_be_noticed() -> None:
    assert uses_the_network("urllib.request") == "urllib.request"
    assert uses_the_network("urllib.request.urlopen") == "urllib.request"
    assert uses_the_network("requests") == "requests"
    assert uses_the_network("urllib.parse.unquote") is None
    assert uses_the_network("httpx_like") is None
