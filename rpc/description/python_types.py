"""From JSON Schemas to Python's type hints, and to dataclasses for objects."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gemstone_events.rpc.description.python_names import Names, class_name, literal
from gemstone_events.rpc.description.references import DescriptionError, Members, References
from gemstone_events.rpc.description.schema_forms import properties_of, required_of, values_of
from gemstone_events.strict_json import JsonValue

TYPE_NAMES = frozenset(
    {"Any", "Decimal", "Literal", "None", "UUID", "bool", "dict", "dt", "float", "int", "list", "str", "tuple"}
)
"""What hints are written with; nothing in a generated class may have such a name."""

_MAX_DEPTH = 32
_MAX_RECORDS = 1000
_MAX_HINT = 1000
_SIMPLE = {"integer": "int", "number": "float", "boolean": "bool", "null": "None", "string": "str"}
_FORMATS = {"date-time": "dt.datetime", "date": "dt.date", "time": "dt.time", "uuid": "UUID", "decimal": "Decimal"}


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter, or a member of a dataclass.

    Attributes:
        name: in Python.
        key: on the wire.
        hint: its type, None among it where it may be left out.
        default: what stands after ``=``; None where it is required.
        is_omissible: None is not sent.
        description: for people.
    """

    name: str
    key: str
    hint: str
    default: str | None
    is_omissible: bool
    description: str = ""


@dataclass(slots=True)
class Record:
    """A dataclass; its values are named as on the wire, as long as not all classes are known."""

    name: str
    description: str
    values: list[Value] = field(default_factory=list)


class PythonTypes:
    """Writes the type hints of one module, and collects the dataclasses that they need.

    Args:
        references: the document.
        names: of the module's classes.
    """

    def __init__(self, references: References, names: Names) -> None:
        self.records: list[Record] = []
        self._references = references
        self._names = names
        # By the identity of the schema, which is the document's own object.
        self._hints: dict[int, str] = {}

    def hint(self, schema: JsonValue, wanted: str, depth: int = 0) -> str:
        """Return the type hint for a schema; ``wanted`` names the dataclass that an object without a name becomes.

        Raises:
            DescriptionError: a reference leads nowhere, or the document is too large.
        """
        if isinstance(schema, bool) or depth > _MAX_DEPTH:
            return "Any"
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if isinstance(reference, str):
            wanted = class_name(reference.rpartition("/")[2])
        plain = self._references.resolve(schema, wanted)
        if id(plain) not in self._hints:
            self._hints[id(plain)] = "Any"  # where something that is no object holds itself
            hint = self._describe(plain, wanted, depth)
            self._hints[id(plain)] = hint if len(hint) <= _MAX_HINT else "Any"
        return self._hints[id(plain)]

    def value(
        self, name: str, key: str, schema: JsonValue, is_required: bool, wanted: str, text: str = "", depth: int = 0
    ) -> Value:
        """Return how a parameter or a member is declared."""
        hint = self.hint(schema, wanted, depth)
        if is_required:
            return Value(name, key, hint, None, False, text)
        plain = self._references.resolve(schema, wanted) if isinstance(schema, Mapping) else {}
        default = plain.get("default")
        if isinstance(default, bool | int | float | str) and hint != "Any" and _may_be(default, plain):
            return Value(name, key, hint, literal(default), False, text)
        return Value(name, key, union([hint, "None"]), "None", True, text)

    def _describe(self, plain: Members, wanted: str, depth: int) -> str:
        for keyword in ("anyOf", "oneOf"):
            choices = plain.get(keyword)
            if isinstance(choices, list):
                return union([self.hint(choice, wanted, depth + 1) for choice in choices])
        parts = plain.get("allOf")
        if isinstance(parts, list):
            return self.hint(parts[0], wanted, depth + 1) if len(parts) == 1 else "Any"
        if (values := values_of(plain)) is not None:
            return _literals(values)
        kinds = plain.get("type")
        if isinstance(kinds, list):
            return union([self._plain(plain, kind, wanted, depth) for kind in kinds])
        return self._plain(plain, kinds or ("object" if "properties" in plain else None), wanted, depth)

    def _plain(self, schema: Members, kind: JsonValue, wanted: str, depth: int) -> str:
        if kind == "object":
            return self._object(schema, wanted, depth)
        if kind == "array":
            return self._array(schema, wanted, depth)
        if kind == "number" and schema.get("x-unit") == "seconds":
            return "dt.timedelta"
        if kind == "string" and isinstance(named := schema.get("format"), str):
            return _FORMATS.get(named, "str")
        return _SIMPLE.get(kind, "Any") if isinstance(kind, str) else "Any"

    def _object(self, schema: Members, wanted: str, depth: int) -> str:
        if not properties_of(schema):
            others = schema.get("additionalProperties", True)
            values = "Any" if isinstance(others, bool) else self.hint(others, f"{wanted}Value", depth + 1)
            return f"dict[str, {values}]"
        if len(self.records) >= _MAX_RECORDS:
            raise DescriptionError(f"the document describes more than {_MAX_RECORDS} kinds of objects")
        made = Record(self._names.take(class_name(wanted)), _text(schema.get("description")))
        self._hints[id(schema)] = made.name  # known before its members are looked at, for it may hold itself
        self.records.append(made)
        required = required_of(schema)
        for key, member in properties_of(schema).items():
            text = _text(member.get("description")) if isinstance(member, Mapping) else ""
            inner = f"{made.name}{class_name(key)}"
            made.values.append(self.value(key, key, member, key in required, inner, text, depth + 1))
        return made.name

    def _array(self, schema: Members, wanted: str, depth: int) -> str:
        items = schema.get("items", True)
        if isinstance(items, list):
            parts = [self.hint(item, f"{wanted}Item{number}", depth + 1) for number, item in enumerate(items, 1)]
            return f"tuple[{', '.join(parts)}]" if parts else "tuple[()]"
        if schema.get("maxItems") == 0:
            return "tuple[()]"
        return f"list[{self.hint(items, f'{wanted}Item', depth + 1)}]"


def union(hints: Iterable[str]) -> str:
    """Return one hint for several, None last. Splitting at " | " would tear brackets apart, so texts stay whole."""
    parts = list(dict.fromkeys(hints))
    if not parts or "Any" in parts:
        return "Any"
    has_none = any(part == "None" or part.endswith(" | None") for part in parts)
    parts = [part.removesuffix(" | None") for part in parts if part != "None"]
    return " | ".join([*dict.fromkeys(parts), *(["None"] if has_none else [])])


def _literals(values: Sequence[JsonValue]) -> str:
    fit = [value for value in values if value is None or isinstance(value, str | int | bool)]
    if not values or len(fit) < len(values):
        return "Any"
    texts = list(dict.fromkeys(literal(value) for value in fit if value is not None))
    return union([*([f"Literal[{', '.join(texts)}]"] if texts else []), *(["None"] if None in fit else [])])


def _may_be(value: str | float | bool, schema: Members) -> bool:
    """Tell whether a default can be written as Python's default: it is a plain value of a plain type."""
    if (values := values_of(schema)) is not None:
        return value in values
    if "format" in schema or "x-unit" in schema:
        return False
    kinds = schema.get("type")
    name = {bool: "boolean", int: "integer", float: "number", str: "string"}[type(value)]
    listed = kinds if isinstance(kinds, list) else [kinds]
    return name in listed or (name == "integer" and "number" in listed)


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""
