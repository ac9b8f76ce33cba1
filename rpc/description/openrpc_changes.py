"""What breaks for callers between two OpenRPC documents of one service."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gemstone_events.rpc.description.changes import Change, collected, shown
from gemstone_events.rpc.description.references import DescriptionError, Members, References, members
from gemstone_events.rpc.description.schema_changes import SchemaComparison
from gemstone_events.strict_json import JsonValue

_GONE = "the method is gone"
_GONE_OR_HIDDEN = f"{_GONE}, or private and not shown to strangers: ask with --header or --header-file"


def openrpc_changes(old: Members, new: Members, *, new_is_for_strangers: bool = False) -> list[Change]:
    """Return what changed between two documents, in the order of the old one, and only what may matter to callers.

    Args:
        old: how it was.
        new: how it is.
        new_is_for_strangers: the new document may leave out private methods, because nobody who is known asks for it.

    Raises:
        DescriptionError: one of them is no OpenRPC document, or cannot be followed.
    """
    before, after = _methods(old), _methods(new)
    shows_private = any(method.get("x-private") for method in after.values())
    gone = _GONE_OR_HIDDEN if new_is_for_strangers and not shows_private else _GONE
    return collected(_Comparison(References(old), References(new), gone).methods(before, after))


def _methods(document: Members) -> dict[str, Members]:
    listed = document.get("methods")
    if not isinstance(listed, list):
        raise DescriptionError("an OpenRPC document has a list of methods")
    references = References(document)
    found = [references.resolve(method, "a method") for method in listed]
    return {_name(method, "a method"): method for method in found}


def _name(described: Members, what: str) -> str:
    name = described.get("name")
    if not isinstance(name, str) or not name:
        raise DescriptionError(f"{what} has no name")
    return name


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: References
    new: References
    gone: str

    def methods(self, old: Mapping[str, Members], new: Mapping[str, Members]) -> Iterator[Change]:
        # Kept over all methods, so that a change in a shared schema is told once.
        params = SchemaComparison(self.old, self.new, new_gives=False)
        results = SchemaComparison(self.new, self.old, new_gives=True)
        for name, before in old.items():
            path = f"methods/{name}"
            after = new.get(name)
            if after is None:
                yield Change(path, self.gone)
                continue
            yield from self._access(before, after, path)
            yield from self._params(before, after, f"{path}/params", params)
            yield from self._result(before, after, f"{path}/result", results)
            yield from self._errors(before, after, f"{path}/errors")

    def _access(self, before: Members, after: Members, path: str) -> Iterator[Change]:
        if after.get("x-private") and not before.get("x-private"):
            yield Change(path, "the method is private now")
        scopes = _texts(after.get("x-scopes")) - _texts(before.get("x-scopes"))
        if scopes:
            yield Change(f"{path}/x-scopes", f"callers need {', '.join(sorted(scopes))} now")
        if before.get("x-idempotent") and not after.get("x-idempotent"):
            yield Change(path, "the method is not idempotent any more: nobody may repeat a call", is_breaking=False)
        if after.get("deprecated") and not before.get("deprecated"):
            yield Change(path, "the method is deprecated now", is_breaking=False)

    def _params(self, before: Members, after: Members, path: str, comparison: SchemaComparison) -> Iterator[Change]:
        old, new = _described(before, self.old, path), _described(after, self.new, path)
        structure, new_structure = (each.get("paramStructure", "either") for each in (before, after))
        further = _further(before, structure)
        if new_structure not in ("either", structure) and (old or further is not None):
            yield Change(path, f"parameters are taken {new_structure} only, and no longer {structure}")
        # Where they have places only, their names mean nothing to callers.
        partners = dict(zip(old, new, strict=False)) if structure == "by-position" else {each: each for each in new}
        # By name and by position, what was listed is not taken as something further.
        others = None if structure == "either" else _further(after, structure)
        for place, (name, param) in enumerate(old.items()):
            where, taken = f"{path}/{name}", new.get(partners.get(name, ""))
            if taken is not None:
                if taken.get("required") and not param.get("required"):
                    yield Change(where, "the parameter is required now")
                elif not taken.get("required") and not param.get("required"):
                    yield from comparison.default_changes(param.get("schema", {}), taken.get("schema", {}), where)
                yield from comparison.changes(param.get("schema", {}), taken.get("schema", {}), where)
            elif others is not None:
                yield from comparison.changes(param.get("schema", {}), others, where)
            else:
                yield Change(where, "the parameter is gone" + _renamed(place, param, old, new))
        met = {partners[name] for name in old if name in partners}
        yield from _new_params({name: new[name] for name in new if name not in met}, further, path, comparison)
        yield from _further_changes(further, _further(after, structure), f"{path}/x-further-params", comparison)
        kept = [name for name in old if name in new]
        if structure != "by-name" and new_structure != "by-name" and list(new)[: len(kept)] != kept:
            yield Change(path, f"the order changed from {_listed(old)} to {_listed(new)}: calls by position break")

    def _result(self, before: Members, after: Members, path: str, comparison: SchemaComparison) -> Iterator[Change]:
        if "result" not in before:
            return
        if "result" not in after:
            yield Change(path, "the result is gone")
            return
        old, new = self.old.resolve(before["result"], path), self.new.resolve(after["result"], path)
        yield from comparison.changes(new.get("schema", {}), old.get("schema", {}), path)

    def _errors(self, before: Members, after: Members, path: str) -> Iterator[Change]:
        old, new = _codes(before, self.old, path), _codes(after, self.new, path)
        for code in [code for code in new if code not in old]:
            yield Change(f"{path}/{code}", f"the error is new: {shown(new[code])}", is_breaking=False)


def _described(method: Members, references: References, path: str) -> dict[str, Members]:
    """Return the parameters of a method by name, in order."""
    listed = method.get("params", [])
    if not isinstance(listed, list):
        raise DescriptionError(f"{path} is no list")
    found = [references.resolve(param, path) for param in listed]
    return {_name(param, path): param for param in found}


def _further(method: Members, structure: object) -> JsonValue:
    """Return the schema of the parameters that are not listed, as callers pass them; None where none are taken."""
    found = method.get("x-further-params")
    way = "by-position" if structure == "by-position" else "by-name"
    return found.get(way) if isinstance(found, Mapping) else None


def _new_params(
    new: Mapping[str, Members], further: JsonValue, path: str, comparison: SchemaComparison
) -> Iterator[Change]:
    for name, param in new.items():
        if param.get("required"):
            yield Change(f"{path}/{name}", "the parameter is new and required")
        elif further is not None:
            yield from comparison.changes(further, param.get("schema", {}), f"{path}/{name}")


def _further_changes(old: JsonValue, new: JsonValue, path: str, comparison: SchemaComparison) -> Iterator[Change]:
    if old is not None and new is not None:
        yield from comparison.changes(old, new, path)
    elif old is not None:
        yield Change(path, "further parameters are not taken any more")


def _codes(method: Members, references: References, path: str) -> dict[int, str]:
    listed = method.get("errors", [])
    if not isinstance(listed, list):
        raise DescriptionError(f"{path} is no list")
    found = [references.resolve(error, path) for error in listed]
    return {code: str(error.get("message", "")) for error in found if isinstance(code := error.get("code"), int)}


def _renamed(place: int, param: Members, old: Mapping[str, Members], new: Mapping[str, Members]) -> str:
    """Guess whether another parameter has taken the place of one that is gone."""
    name = list(new)[place] if place < len(new) else None
    if name is None or name in old or new[name].get("schema") != param.get("schema"):
        return ""
    return f" (renamed to {shown(name)}?)"


def _listed(names: Mapping[str, object]) -> str:
    return f"({', '.join(names)})"


def _texts(value: object) -> frozenset[str]:
    items: Sequence[object] = value if isinstance(value, list) else ()
    return frozenset(item for item in items if isinstance(item, str))


def check_openrpc(document: object) -> Members:
    """Return a document that calls itself OpenRPC.

    Raises:
        DescriptionError: it does not.
    """
    found = members(document, "an OpenRPC document")
    if not isinstance(found.get("openrpc"), str) or not isinstance(found.get("methods"), list):
        raise DescriptionError("it is no OpenRPC document: it has no 'openrpc' and no list of 'methods'")
    return found
