"""What `--format json` and `jsonl` write for several dumps: documents that follow one another."""

import json


def documents(text):
    """The complete JSON documents at the start of `text`."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        try:
            document, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            break
        found.append(document)
        text = text[end:]
    return found


class Truncated(Exception):
    """JSON Lines without their end."""


def from_lines(text):
    """The documents that JSON Lines stand for."""
    found, document = [], None
    for line in text.splitlines():
        item = json.loads(line)
        if "schema" in item:
            if document is not None:
                raise Truncated
            document = {**item, "stacks": [], "frames": [], "tasks": [], "groups": [], "suspects": []}
        elif "end" in item:
            if item["tasks"] != len(document["tasks"]):
                raise Truncated
            found.append(document)
            document = None
        else:
            (kind,) = item.keys() - {"index"}
            items = document[kind + "s"]
            place = item.get("index", len(items))
            items.extend([None] * (place + 1 - len(items)))
            items[place] = item[kind]
    if document is not None:
        raise Truncated
    return found
