"""Reads JSON files as frozen tables, with a one-line error for a damaged file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from autox3d.core import schema
from autox3d.core.errors import Refused
from autox3d.core.names import check_format
from autox3d.core.origin import run_again

T = TypeVar("T")
Content = dict[str, Any]


def read_record(
    path: Path, kind: type[T], nested: Callable[[Content], Content] = lambda content: content
) -> T:
    """Reads the file as a `kind`; `nested` converts the file's content to the table's fields.

    Raises:
        Refused: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(f"{path}: there is no such file. {run_again(path)}") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise Refused(f"{path}: not JSON ({error}). {run_again(path)}") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: not a JSON object. {run_again(path)}")
    check_format(content.pop("format", 1), path, known=(1,))
    try:
        return schema.check(nested(content), kind, path)
    except KeyError as error:
        raise Refused(f"{path}: missing {error}. {run_again(path)}") from error
    except (TypeError, AttributeError) as error:
        raise Refused(f"{path}: a row is not a JSON object. {run_again(path)}") from error
    except Refused as error:
        raise Refused(f"{error} {run_again(path)}") from error


def without(content: Content, key: str, default: object) -> Content:
    """Returns the content without `key` if its value is the default."""
    return {k: v for k, v in content.items() if k != key or v != default}
