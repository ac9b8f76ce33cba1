"""What breaks for callers between two OpenRPC documents of one service."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gemstone_events.rpc.description.changes import Change, shown
from gemstone_events.rpc.description.references import DescriptionError, Members, References, members
from gemstone_events.rpc.description.schema_changes import SchemaComparison


def openrpc_changes(old: Members, new: Members) -> list[Change]:
    """Return what changed between two documents, in the order of the old one, and only what may matter to callers.

    Raises:
        DescriptionError: one of them is no OpenRPC document, or cannot be followed.
    """
    found = _Comparison(References(old), References(new))
    return list(dict.fromkeys(found.methods(_methods(old), _methods(new))))


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

    def methods(self, old: Mapping[str, Members], new: Mapping[str, Members]) -> Iterator[Change]:
        # Kept over all methods, so that a change in a shared schema is told once.
        params = SchemaComparison(self.old, self.new, new_gives=False)
        results = SchemaComparison(self.new, self.old, new_gives=True)
        for name, before in old.items():
            path = f"methods/{name}"
            after = new.get(name)
            if after is None:
                yield Change(path, "the method is gone")
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
        if new_structure not in ("either", structure):
            yield Change(path, f"parameters are taken {new_structure} only, and no longer {structure}")
        for place, (name, param) in enumerate(old.items()):
            where = f"{path}/{name}"
            if name not in new:
                yield Change(where, "the parameter is gone" + _renamed(place, param, old, new))
                continue
            if new[name].get("required") and not param.get("required"):
                yield Change(where, "the parameter is required now")
            yield from comparison.changes(param.get("schema", {}), new[name].get("schema", {}), where)
        for name in [name for name in new if name not in old and new[name].get("required")]:
            yield Change(f"{path}/{name}", "the parameter is new and required")
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
