"""Command-line flags and a config file, into one frozen settings object.

A process declares its settings as a frozen dataclass; each field is a flag. `node_name: str` becomes
`--node-name`; a field's help is `setting("…")`. Values are taken from the command line first, then from the YAML
mapping in `--config FILE` (same names, camelCase or kebab-case), then from the field's default.
Bad input prints one line to stderr and exits with 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

S = TypeVar("S")


def setting(
    help: str, default: Any = dataclasses.MISSING, *, default_factory: Any = dataclasses.MISSING, also: str = ""
) -> Any:
    """Return a dataclass field whose flag shows `help`; without a default the flag is required.

    `also` is what a config file may call it instead, where that is known by another name than the flag.
    """
    metadata = {"help": help, "also": also}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def parse(settings: type[S], argv: Sequence[str] | None = None, *, prog: str, description: str = "") -> S:
    """Parse `argv` (default: the process's own) into a `settings` object.

    Field types: str, int, float, bool, Path, Literal, X | None, and tuple[X, ...] (comma-separated or repeated).

    Raises:
        SystemExit: with code 2 after one line on stderr, for an unknown, malformed or missing setting.
    """
    hints = typing.get_type_hints(settings)
    parser = _Parser(prog=prog, description=description or (settings.__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, help="YAML file of the same settings; flags win over it")
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    for field in fields:
        flag = "--" + field.name.replace("_", "-")
        help_text = field.metadata.get("help", "")
        if field.default is not dataclasses.MISSING and field.default not in (None, "", ()):
            help_text += f" (default: {field.default})"
        kwargs: dict[str, Any] = {"dest": field.name, "default": None, "help": help_text.replace("%", "%%")}
        if hints[field.name] is bool:
            kwargs["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hints[field.name]) is tuple:
            kwargs["action"] = "append"
        parser.add_argument(flag, **kwargs)
    namespace = parser.parse_args(argv)
    from_file = _read_config(parser, namespace.config) if namespace.config else {}
    values: dict[str, Any] = {}
    for field in fields:
        raw = getattr(namespace, field.name)
        for name in filter(None, (field.name, field.metadata.get("also"))):
            written = from_file.pop(name.replace("_", ""), None)
            raw = written if raw is None else raw
        if raw is None:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                parser.error(f"--{field.name.replace('_', '-')} is required: {field.metadata.get('help', '')}")
            continue
        try:
            values[field.name] = _convert(hints[field.name], raw)
        except ValueError as error:
            parser.error(f"--{field.name.replace('_', '-')}: {error}")
    if from_file:
        parser.error(f"{namespace.config}: unknown settings: {', '.join(sorted(from_file))}")
    try:
        return settings(**values)
    except ValueError as error:  # settings that do not go together
        parser.error(str(error))


def _read_config(parser: _Parser, path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: {error}")
    if not isinstance(content, dict):
        parser.error(f"--config {path}: expected a mapping of settings")
    return {str(key).replace("-", "").replace("_", "").lower(): value for key, value in content.items()}


def _convert(kind: Any, raw: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return _convert(inner[0], raw)
    if origin is tuple:
        inner_kind = typing.get_args(kind)[0]
        parts = raw if isinstance(raw, list) else [raw]
        return tuple(_convert(inner_kind, piece) for part in parts for piece in str(part).split(",") if piece)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if str(choice) == str(raw):
                return choice
        raise ValueError(f"{raw!r} is not one of {', '.join(map(str, choices))}")
    if kind is bool:
        if isinstance(raw, bool):
            return raw
        raise ValueError(f"{raw!r} is not true or false")
    if kind in (int, float):
        try:
            return kind(raw)
        except (TypeError, ValueError):
            raise ValueError(f"{raw!r} is not a number") from None
    if kind is Path:
        return Path(str(raw))
    return str(raw)
