"""What `--format json` writes for several dumps: documents that follow one another."""

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
