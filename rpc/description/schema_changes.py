"""What breaks between two versions of a JSON Schema (draft-07).

There is one question: what may one side give that the other does not take? Callers who know an old description give
parameters to the new service; the new service gives results to readers who know the old description. All rules follow
from which of two schemas gives, and which of them is new.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gemstone_events.rpc.description.changes import Change, said, shown
from gemstone_events.rpc.description.references import References
from gemstone_events.rpc.description.schema_forms import (
    Alternative,
    alternatives,
    form_of,
    is_among,
    is_within,
    overlap,
    properties_of,
    required_of,
    takes_all,
    type_of,
    values_of,
)
from gemstone_events.strict_json import JsonValue

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_BESIDE = {
    "minimum": "exclusiveMinimum",
    "exclusiveMinimum": "minimum",
    "maximum": "exclusiveMaximum",
    "exclusiveMaximum": "maximum",
}
_MUST_EQUAL = ("format", "multipleOf", "uniqueItems")
_INCOMPARABLE = ("pattern", "not", "if", "patternProperties", "propertyNames", "dependencies", "contains")

_Pair: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, slots=True)
class SchemaComparison:
    """Compares what is given with what is taken.

    Attributes:
        given: the document of the side that gives.
        taken: the document of the side that takes.
        new_gives: the giving side is the new description (results, emitted events); otherwise the old one is
            (parameters, handled events).
    """

    given: References
    taken: References
    new_gives: bool
    _done: dict[_Pair, Sequence[Change]] = field(default_factory=dict)
    _kept: list[JsonValue] = field(default_factory=list)

    def changes(self, given: JsonValue, taken: JsonValue, path: str) -> Iterator[Change]:
        """Yield what may be given and is not taken, and what is risky.

        A pair of schemas is compared once; what changed in it is told where it was met first.

        Raises:
            DescriptionError: a reference leads nowhere, or a schema refers to itself without end.
        """
        self._kept.extend((given, taken))  # what lives no more would leave its identity to something else
        takes = alternatives(taken, self.taken, path)
        if any(takes_all(choice.schema) for choice in takes):
            return
        for choice in alternatives(given, self.given, path):
            yield from self._best(choice, takes, path)

    def default_changes(self, given: JsonValue, taken: JsonValue, path: str) -> Iterator[Change]:
        """Yield that what may be left out on both sides has another default: whoever does that means something else.

        Raises:
            DescriptionError: a reference leads nowhere.
        """
        if isinstance(given, bool) or isinstance(taken, bool) or self.new_gives:
            return
        old, new = self.given.resolve(given, path), self.taken.resolve(taken, path)
        if "default" in old and not ("default" in new and _are_equal(old["default"], new["default"])):
            now = shown(new["default"]) if "default" in new else "one that is not described"
            message = f"the default changed from {shown(old['default'])} to {now}: leaving it out means something else"
            yield Change(path, message, is_breaking=False)

    def _best(self, given: Alternative, takes: Sequence[Alternative], path: str) -> Iterator[Change]:
        """Compare with the alternative that fits best."""
        if (values := values_of(given.schema)) is not None:
            yield from self._missing_values(values, given.schema, takes, path)
            return
        tried = [self._remembered(given, taken, path) for taken in takes if overlap(given.schema, taken.schema)]
        if tried:
            yield from min(tried, key=lambda found: (sum(change.is_breaking for change in found), len(found)))
        else:
            yield Change(path, self._moved("type", _kinds([given]), _kinds(takes)))

    def _missing_values(
        self, values: Sequence[JsonValue], given: Mapping[str, JsonValue], takes: Sequence[Alternative], path: str
    ) -> Iterator[Change]:
        more = {name: given[name] for name in ("format", *_INCOMPARABLE) if name in given}
        for value in values:
            if not any(self._takes_value(taken.schema, value, more, path) for taken in takes):
                yield Change(path, f"the value {shown(value)} {'is new' if self.new_gives else 'is gone'}")

    def _takes_value(
        self, taken: Mapping[str, JsonValue], value: JsonValue, more: Mapping[str, JsonValue], path: str
    ) -> bool:
        if (values := values_of(taken)) is not None:
            return is_among(value, values)
        return not any(change.is_breaking for change in self._compare({**more, **form_of(value)}, taken, path))

    def _remembered(self, given: Alternative, taken: Alternative, path: str) -> Sequence[Change]:
        pair = (given.name, taken.name)
        if pair not in self._done:
            self._done[pair] = ()  # while it is compared, what holds itself is taken to fit
            self._done[pair] = list(self._compare(given.schema, taken.schema, path))
        return self._done[pair]

    def _compare(self, given: Mapping[str, JsonValue], taken: Mapping[str, JsonValue], path: str) -> Iterator[Change]:
        if (values := values_of(taken)) is not None:
            yield Change(path, self._moved("the values", "any", ", ".join(map(shown, values))))
            return
        kind, wanted = type_of(given), type_of(taken)
        if wanted is not None and not is_within(kind, wanted):
            yield Change(path, self._moved("type", kind or "any", wanted))
            return
        yield from self._limits(given, taken, path)
        if taken.keys() & {"properties", "additionalProperties", "required"}:
            yield from self._members(given, taken, path)
            yield from self._further_members(given, taken, path)
        if "items" in taken:
            yield from self._items(given.get("items", {}), taken["items"], f"{path}/items")

    def _limits(self, given: Mapping[str, JsonValue], taken: Mapping[str, JsonValue], path: str) -> Iterator[Change]:
        for keyword in (*_LOWER_BOUNDS, *_UPPER_BOUNDS):
            limit = taken.get(keyword)
            if isinstance(limit, int | float) and not _keeps(given, keyword, limit):
                yield Change(path, self._moved(keyword, given.get(keyword), limit))
        for keyword in _MUST_EQUAL:
            if keyword in taken and taken[keyword] not in (given.get(keyword), False):
                yield Change(path, self._moved(keyword, given.get(keyword), taken[keyword]))
        for keyword in _INCOMPARABLE:
            if keyword in taken and taken[keyword] != given.get(keyword):
                # Whether one pattern admits all that another does cannot be decided. Where there was none, it can.
                yield Change(path, self._moved(keyword, given.get(keyword), taken[keyword]), keyword not in given)

    def _members(self, given: Mapping[str, JsonValue], taken: Mapping[str, JsonValue], path: str) -> Iterator[Change]:
        gives, takes = properties_of(given), properties_of(taken)
        surely, needed = required_of(given), required_of(taken)
        for name in [*takes, *sorted(needed - takes.keys())]:
            where = f"{path}/properties/{name}"
            if name not in gives and name not in surely:
                if self.new_gives:
                    yield Change(where, "is gone")
                elif name in needed:
                    yield Change(where, "is new and required")
                continue
            if name in needed and name not in surely:
                yield Change(where, "may be missing now" if self.new_gives else "is required now")
            if name in gives and name in takes and name not in surely | needed:
                yield from self.default_changes(gives[name], takes[name], where)
            yield from self.changes(gives.get(name, {}), takes.get(name, {}), where)

    def _further_members(
        self, given: Mapping[str, JsonValue], taken: Mapping[str, JsonValue], path: str
    ) -> Iterator[Change]:
        gives, takes = properties_of(given), properties_of(taken)
        others, taken_others = given.get("additionalProperties", True), taken.get("additionalProperties", True)
        for name in [name for name in gives if name not in takes]:
            where = f"{path}/properties/{name}"
            if isinstance(taken_others, Mapping):
                yield from self.changes(gives[name], taken_others, where)
            elif not self.new_gives:
                is_refused = taken_others is False
                yield Change(where, f"is gone, and {'refused' if is_refused else 'ignored'}", is_refused)
            elif taken_others is False:
                yield Change(where, "is new: readers that refuse what they do not know will fail", is_breaking=False)
        where = f"{path}/additionalProperties"
        if others is False:
            return
        if isinstance(taken_others, Mapping):
            yield from self.changes(others, taken_others, where)
        elif taken_others is False:
            what = "may come now" if self.new_gives else "are refused now"
            yield Change(where, f"members that are not described {what}", not self.new_gives)

    def _items(self, gives: JsonValue, takes: JsonValue, path: str) -> Iterator[Change]:
        if isinstance(takes, list):
            if not isinstance(gives, list) or len(gives) != len(takes):
                yield Change(path, self._moved("the number of items", _length(gives), _length(takes)))
                return
            for number, (one, other) in enumerate(zip(gives, takes, strict=True)):
                yield from self.changes(one, other, f"{path}/{number}")
        elif isinstance(gives, list):
            for number, one in enumerate(gives):
                yield from self.changes(one, takes, f"{path}/{number}")
        else:
            yield from self.changes(gives, takes, path)

    def _moved(self, what: str, given: object, taken: object) -> str:
        old, new = (taken, given) if self.new_gives else (given, taken)
        return f"{what} changed from {said(old)} to {said(new)}"


def _keeps(given: Mapping[str, JsonValue], keyword: str, limit: float) -> bool:
    """Tell whether all that a schema gives is within a bound, by its own one, or by that which in- or excludes itself."""
    sign = 1 if keyword in _LOWER_BOUNDS else -1
    own, other = given.get(keyword), given.get(_BESIDE.get(keyword, ""))
    if isinstance(own, int | float) and sign * own >= sign * limit:
        return True
    if not isinstance(other, int | float):
        return False
    return sign * other > sign * limit or (other == limit and keyword in ("minimum", "maximum"))


def _are_equal(one: JsonValue, other: JsonValue) -> bool:
    return one == other and isinstance(one, bool) is isinstance(other, bool)  # for True == 1


def _kinds(choices: Sequence[Alternative]) -> str:
    kinds = [type_of(choice.schema) or ("any" if takes_all(choice.schema) else "a value") for choice in choices]
    return " or ".join(dict.fromkeys(kinds)) or "nothing"


def _length(items: JsonValue) -> object:
    return len(items) if isinstance(items, list) else "any"
