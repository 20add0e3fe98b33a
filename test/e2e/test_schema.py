"""Dumps keep to the published schema, and their indexes and ids to each other."""

import copy
import json
import pathlib

import jsonschema
import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
SCHEMA = json.loads((TESTS / "schema" / "asynctrace.dump-1.schema.json").read_text())
GOLDEN = sorted((TESTS / "unit" / "golden").glob("*.json"))


def check(dump):
    jsonschema.Draft7Validator(SCHEMA).validate(dump)
    ids = {task["id"] for task in dump["tasks"]}
    assert len(ids) == len(dump["tasks"])
    for stack in dump["stacks"]:
        assert all(index < len(dump["frames"]) for index in stack)
    for group in dump["groups"]:
        assert group["count"] == len(group["tasks"])
        if group["min_ns"] is not None:
            assert group["min_ns"] <= group["median_ns"] <= group["max_ns"]
        assert ids.issuperset(group["tasks"])
        assert all(index < len(dump["stacks"]) for index in group["stacks"])
    for suspect in dump["suspects"]:
        assert ids.issuperset(suspect["tasks"])
    for task in dump["tasks"]:
        for leaf in task["leaves"]:
            assert leaf["stack"] is None or leaf["stack"] < len(dump["stacks"])


def test_there_are_goldens():
    assert len(GOLDEN) >= 2


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_dumps_are_valid(path):
    check(json.loads(path.read_text()))


def test_the_schema_itself_is_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def paths(value, path=()):
    """Every field of a document, but one item of each list stands for all."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield (*path, key)
            yield from paths(member, (*path, key))
    elif isinstance(value, list) and value:
        yield from paths(value[0], (*path, 0))


def parent(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


def test_the_schema_misses_no_field_and_no_type():
    """Each field of a complete dump is required, and cannot hold what no field may hold."""
    whole = json.loads((TESTS / "unit" / "golden" / "shop.json").read_text())
    whole["diagnostics"] = [{"code": "lost_leaves", "message": "m", "remedy": None}]
    whole["crash"] = {"signal": "SIGSEGV", "signal_number": 11, "tid": 4250, "task": 17, "in_poll_ns": 3, "stack": 0,
                      "reason": None}
    whole["tasks"] = [task for task in whole["tasks"] if task["leaves"]]
    whole["groups"], whole["suspects"] = whole["groups"][:1], whole["suspects"][:1]
    validator = jsonschema.Draft7Validator(SCHEMA)
    validator.validate(whole)
    optional = {("durations_at_least",)}
    for path in list(paths(whole)):
        broken = copy.deepcopy(whole)
        parent(broken, path)[path[-1]] = [{"neither": "this"}]
        assert not validator.is_valid(broken), f"{path}: any type passes"
        del parent(broken, path)[path[-1]]
        assert validator.is_valid(broken) == (path in optional), f"{path}: may be missing"
