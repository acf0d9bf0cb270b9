"""YAML as it comes from outside: what it would grow to is known before anything is built of it.

A few lines of aliases or merge keys can stand for more than any memory holds, so a file is read to its nodes first,
which share what is referred to, and these are counted as if they did not. Numbers are those of YAML 1.2: `1e-3` is one,
`1:30` is text.
"""

import math
import re
from typing import Any

import yaml

from calibration.plain_json import HALF_CHARACTER

_LARGEST = 300_000
_MOST_NODES = 200_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """FileStorage's matrices are mappings of rows, cols, dt and data."""


def _matrix(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)
_OTHER_IN_1_2 = ("int", "float", "timestamp")
_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0].rpartition(":")[2] not in _OTHER_IN_1_2]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def resolve_numbers(kind: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    """Have a loader read as numbers, or a dumper quote where they are texts, what YAML 1.2 says are numbers."""
    whole = re.compile(r"[-+]?[0-9]{1,4000}\Z|0o[0-7]{1,4000}\Z|0x[0-9a-fA-F]{1,4000}\Z")
    kind.add_implicit_resolver("tag:yaml.org,2002:int", whole, list("-+0123456789"))
    real = re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?\Z|[-+]?[0-9]+[eE][-+]?[0-9]+\Z"
        r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
    )
    kind.add_implicit_resolver("tag:yaml.org,2002:float", real, list("-+0123456789."))


resolve_numbers(_Loader)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _real_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float | str:
    """What is beyond any float is a text, such as the hash 8081e6192082: programs of YAML 1.1 do not quote it."""
    value, text = loader.construct_yaml_float(node), loader.construct_scalar(node)
    return text if math.isinf(value) and "inf" not in text.lower() else value


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _real_number)


def parse_yaml(text: str) -> Any:
    """What the text says.

    Raises yaml.YAMLError, which says in one line what and where, if the text is not YAML, or larger, deeper or wider
    than what is read.
    """
    try:
        return _parse(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise yaml.YAMLError(f"line {line}: the character #x{ord(text[error.position]):04x} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise yaml.YAMLError(f"{where}{' '.join(str(error.problem or error.context).split())}") from None


def _parse(text: str) -> Any:
    if len(text) > _LARGEST:
        raise yaml.YAMLError(f"it is longer than {_LARGEST} characters")
    loader = _Loader(text)
    try:
        _check_depth(loader)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    except (KeyError, AttributeError):  # `!!bool abc`, `!!timestamp abc`
        raise yaml.YAMLError("a value that is not what its tag says") from None
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from None
    finally:
        loader.dispose()


def _check_depth(loader: _Loader) -> None:
    """The parser's events come without recursion; what is made of them does not."""
    depth = 0
    while not loader.check_event(yaml.StreamEndEvent):
        event = loader.get_event()
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: nested more than {_DEEPEST} deep")


def _count(node: yaml.Node, counts: dict[int, int], above: set[int]) -> int:
    """The nodes below one and itself, as if none were shared."""
    if id(node) in counts:
        return counts[id(node)]
    line = node.start_mark.line + 1
    if id(node) in above:
        raise yaml.YAMLError(f"line {line}: an entry that holds itself")
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [each for pair in node.value for each in pair]
    elif HALF_CHARACTER.search(node.value):
        raise yaml.YAMLError(f"line {line}: `\\ud800` to `\\udfff` are halves of characters, and one is alone")
    above.add(id(node))
    total = 1 + sum(_count(child, counts, above) for child in children)
    above.remove(id(node))
    if total > _MOST_NODES:
        raise yaml.YAMLError(f"line {line}: more than {_MOST_NODES} entries, aliases counted as what they stand for")
    counts[id(node)] = total
    return total
