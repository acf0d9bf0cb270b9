"""Typed YAML files: read into msgspec structs with errors a person can act on, written atomically."""

import re
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from calibration.errors import UserError, did_you_mean, reason_of
from calibration.found_files import read_found_text
from calibration.plain_yaml import parse_yaml, resolve_numbers
from calibration.written_files import write_atomic

T = TypeVar("T")


def read_yaml(path: Path, struct: type[T], advice: str = "Give another file.") -> T:
    """Read a YAML file into `struct`; `advice` is what to do where the file is of another kind.

    Raises UserError where the file is missing, is not YAML, or does not fit the struct. An unknown key is refused
    with a known one that is spelled like it named, an unknown tag with the known ones.
    """
    try:
        text = read_found_text(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of an existing file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    try:
        data = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}. Correct it and try again.") from None
    if data is None:
        raise UserError(f"{path}: the file is empty.")
    return from_data(data, struct, str(path), advice)


def from_data(data: Any, struct: type[T], name: str, advice: str = "Give another file.") -> T:
    """Convert plain data to `struct`; `name` is how errors call the data. Raises UserError as `read_yaml`."""
    if issubclass(struct, msgspec.Struct) and not isinstance(data, dict):
        kind = {str: "text", list: "a list"}.get(type(data), "a number")
        known = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(struct))
        raise UserError(f"{name}: holds {kind}, expected entries `key: value` of {known}. {advice}")
    _refuse_unknown_keys(data, struct, name, "")
    try:
        return msgspec.convert(data, struct)
    except msgspec.ValidationError as error:
        text = re.sub(r"\$\.?", "", str(error))
        raise UserError(f"{name}: {text}. Correct this entry and try again.") from None


def _struct_candidates(annotation: Any) -> list[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        return [found for part in get_args(annotation) for found in _struct_candidates(part)]
    return []


def _pick_by_tag(structs: list[type[msgspec.Struct]], data: dict) -> type[msgspec.Struct] | None:
    if len(structs) == 1:
        return structs[0]
    for struct in structs:
        tag_field = struct.__struct_config__.tag_field
        if tag_field and data.get(tag_field) == struct.__struct_config__.tag:
            return struct
    return None


def _refuse_unknown_tag(structs: list[type[msgspec.Struct]], data: dict, name: str, where: str) -> None:
    """With what each of the known tags is, as the first line of its struct says."""
    known = {str(each.__struct_config__.tag): (each.__doc__ or "").split("\n")[0].rstrip(".") for each in structs}
    field = structs[0].__struct_config__.tag_field
    if not field:
        return
    got = f"`{field}: {data[field]}`" if field in data else f"no `{field}`"
    listed = "; ".join(f"`{tag}` ({what})" if what else f"`{tag}`" for tag, what in known.items())
    raise UserError(f"{name}: {got} in `{where}`{did_you_mean(data.get(field), known) or '.'} Give one of {listed}.")


def _refuse_unknown_keys(data: Any, annotation: Any, name: str, where: str) -> None:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple) and isinstance(data, list) and args:
        for index, item in enumerate(data):
            _refuse_unknown_keys(item, args[0], name, f"{where}[{index}]")
        return
    if origin is dict and isinstance(data, dict):
        for key, item in data.items():
            _refuse_unknown_keys(item, args[1], name, f"{where}.{key}".lstrip("."))
        return
    structs = _struct_candidates(annotation)
    if not structs or not isinstance(data, dict):
        return
    struct = _pick_by_tag(structs, data)
    if struct is None:
        _refuse_unknown_tag(structs, data, name, where)
        return
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    tag_field = struct.__struct_config__.tag_field
    known = {*fields, tag_field} if tag_field else set(fields)
    for key, item in data.items():
        if key not in known:
            place = f" in `{where}`" if where else ""
            raise UserError(
                f"{name}: unknown key `{key}`{place}{did_you_mean(key, known) or '.'} Known keys: "
                f"{', '.join(sorted(known))}."
            )
        _refuse_unknown_keys(item, fields.get(key), name, f"{where}.{key}".lstrip("."))


class _Dumper(yaml.SafeDumper):
    """Block style, but rows of numbers on one line: a matrix reads as a matrix."""


def _represent_list(dumper: yaml.SafeDumper, value: list | tuple) -> yaml.Node:
    flat = all(isinstance(item, int | float | str) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


resolve_numbers(_Dumper)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)


def write_yaml(path: Path, value: Any) -> None:
    """Write a struct or plain data as YAML, atomically."""
    text = yaml.dump(msgspec.to_builtins(value), Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)
    write_atomic(path, text.encode())
