"""Prometheus' text format, strictly."""

import json
import re

LABEL = r'[a-z_]+="(?:[^"\\\n]|\\[\\n"])*"'
NUMBER = r"-?\d+(?:\.\d+)?"


def parse_metrics(text):
    """{(name, ((label, value), ...)): number}. A histogram's buckets, sum and count stand under their own names."""
    samples, types = {}, {}
    for line in text.splitlines():
        if comment := re.fullmatch(r"# (HELP|TYPE) ([a-z_:][a-z0-9_:]*) (.+)", line):
            word, name, rest = comment.groups()
            if word == "TYPE":
                assert rest in ("counter", "gauge", "histogram") and name not in types, line
                types[name] = rest
            continue
        sample = re.fullmatch(rf"([a-z_:][a-z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? ({NUMBER})", line)
        assert sample, f"no sample: {line!r}"
        name, labels, number = sample.groups()
        kind = types.get(re.sub("_(bucket|sum|count)$", "", name)) or types.get(name)
        assert kind, f"{name} has no type"
        assert kind != "counter" or name.endswith("_total"), f"{name} is a counter"
        key = name, tuple((k, json.loads(v)) for k, v in re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*")', labels or ""))
        assert key not in samples, f"{key} stands twice"
        samples[key] = float(number)
    return samples


def names_of(text):
    """{name: type} of all metrics, those without a sample included."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
