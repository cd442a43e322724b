"""YAML within bounds: one document's tree and the lines of its keys, whatever the document is.

Does: look at the events before anything is built (depth, values, aliases), then at the nodes (circles, what aliases
unfold to, keys that stand twice), then build. Must not know files or keys. Invariant: time and memory are bounded by
the length of the text, since each look stops at the first bound that is passed; every fault is a Malformed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from crawler.places import Lines, Malformed, yaml_lines

_MAX_ALIASES = 1000
_MAX_VALUES = 500_000  # the parser takes about a kilobyte for each
_MAX_UNFOLDED = 100_000  # where there are aliases
# The parser in C is twenty times as fast; its events and nodes are the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What the constructors of scalars raise for `!!int ""`, `!!timestamp x`, `!!bool 7` and the like.
_UNFIT = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


class _Weight(NamedTuple):
    """What a node comes to with its aliases unfolded."""

    values: int
    depth: int


def parse_yaml(text: str, max_depth: int) -> tuple[Any, Lines]:
    """The document ({} where there is none) and its lines. Raises Malformed."""
    try:
        aliases = _survey(text, max_depth)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}, {}
            weight = _weigh(node, {})
            if weight.depth > max_depth:
                raise Malformed(f"is nested more than {max_depth} deep")
            if aliases and weight.values > _MAX_UNFOLDED:
                raise Malformed(f"its aliases unfold to more than {_MAX_UNFOLDED} values")
            lines = yaml_lines(node)
            return _built(loader, node), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(str(error.problem or error.context), mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise Malformed(" ".join(str(error).split())) from None


def _survey(text: str, max_depth: int) -> int:
    """The number of aliases, if the document is not too much in any way."""
    depth = aliases = 0
    for values, event in enumerate(yaml.parse(text, _Loader), 1):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > max_depth:
            raise Malformed(f"is nested more than {max_depth} deep", _line(event))
        if aliases > _MAX_ALIASES:
            raise Malformed(f"has more than {_MAX_ALIASES} aliases", _line(event))
        if values > _MAX_VALUES:
            raise Malformed(f"has more than {_MAX_VALUES} values; lists of URLs belong into input.files")
    return aliases


def _line(event: yaml.Event) -> int | None:
    return event.start_mark.line + 1 if event.start_mark else None


def _weigh(node: yaml.Node, known: dict[int, _Weight | None]) -> _Weight:
    """Weigh a node, each only once; None marks those whose weighing is under way."""
    weight = known.get(id(node), _Weight(0, 0))
    if weight is None:
        raise Malformed("an alias stands within what it stands for", node.start_mark.line + 1)
    if weight.values:
        return weight
    known[id(node)] = None
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
    weights = [_weigh(part, known) for part in _parts(node)]
    deepest = max((part.depth for part in weights), default=0) + isinstance(node, yaml.CollectionNode)
    known[id(node)] = weight = _Weight(1 + sum(part.values for part in weights), deepest)
    return weight


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """What a node holds: items, or keys and values in turn."""
    if isinstance(node, yaml.MappingNode):
        return [item for pair in node.value for item in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_keys(node: yaml.MappingNode) -> None:
    """The parser lets the last of several equal keys win without a word."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise Malformed(f"the key '{key.value}' stands twice in one table", key.start_mark.line + 1)
            seen.add((key.tag, key.value))


def _built(loader: Any, node: yaml.Node) -> Any:
    try:
        return loader.construct_document(node)
    except _UNFIT:
        said = "a value does not fit its tag, or has more digits than any number here needs"
        raise Malformed(said, _first_unfit(_Loader(""), node)) from None


def _first_unfit(loader: Any, node: yaml.Node) -> int | None:
    """The line of the first scalar that cannot be built; the faults themselves do not tell it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.ScalarNode):
            try:
                loader.construct_object(node)
            except _UNFIT:
                return int(node.start_mark.line) + 1
        else:
            waiting += reversed(_parts(node))
    return None
