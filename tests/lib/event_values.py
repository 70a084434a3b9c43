"""What an event of format "row" must carry for a value, from PostgreSQL's own text of it. (In format "text" it is that text.)"""

import base64
import json
from decimal import Decimal
from typing import NamedTuple

NUMBERS = ("int2", "int4", "int8", "float4", "float8")
NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


class Type(NamedTuple):
    """name: of the type, or of a domain's base; element: of an array's element, else ""."""
    name: str
    element: str = ""


def load(text):
    """JSON whose numbers keep every digit."""
    return json.loads(text, parse_float=Decimal)


def expected(text, kind):
    """The JSON value; None for SQL NULL."""
    if text is None:
        return None
    return _array(text, kind.element) if kind.element else _scalar(text, kind.name)


def _scalar(text, name):
    convert = {"bool": lambda t: t == "t", "json": load, "jsonb": load, "timestamp": _timestamp, "timestamptz": _timestamptz,
               "bytea": lambda t: base64.b64encode(bytes.fromhex(t[2:])).decode()}
    if name in NUMBERS:
        return text if text in NO_NUMBERS else load(text)
    return convert[name](text) if name in convert else text


def _timestamp(text):
    """ISO 8601. infinity, and what lies before Christ, stay PostgreSQL's words."""
    return text if "infinity" in text or text.endswith("BC") else text.replace(" ", "T", 1)


def _timestamptz(text):
    return _timestamp(text.removesuffix("+00") + "Z") if text.endswith("+00") else text


def _array(text, element):
    """{a,"b c",NULL,{..}}, behind its bounds if they are not the usual ones."""
    value, at = _read_array(text, text.index("{"), element)
    if at != len(text):
        raise ValueError(f"not an array: {text}")
    return value


def _read_array(text, at, element):
    values, at = [], at + 1
    while text[at] != "}":
        if text[at] == ",":
            at += 1
        elif text[at] == "{":
            value, at = _read_array(text, at, element)
            values.append(value)
        else:
            word, quoted, at = _read_word(text, at)
            values.append(None if word == "NULL" and not quoted else _scalar(word, element))
    return values, at + 1


def _read_word(text, at):
    word, quoted = [], text[at] == '"'
    at += quoted
    while text[at] != '"' if quoted else text[at] not in ",}":
        at += text[at] == "\\"
        word.append(text[at])
        at += 1
    return "".join(word), quoted, at + quoted
