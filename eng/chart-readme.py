#!/usr/bin/env python3
"""Writes the tables of helm/atelier/README.md: the values with the comments of values.yaml, and the fields of pools and
models with the descriptions of values.schema.json.

    eng/chart-readme.py            writes them
    eng/chart-readme.py --check    ends with exit code 1 if they are out of date

A comment belongs to the key below it. Needs only Python's standard library.
"""
import json, os, re, sys, textwrap

CHART = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "helm", "atelier")
README = os.path.join(CHART, "README.md")
MARK = "<!-- From here on, this file is written by eng/chart-readme.py. -->\n"
COLUMNS = 120


def values():
    """Pairs of a key with its default, None for a map that is listed key by key, and its comment."""
    path, comment, found = [], [], []
    for line in open(os.path.join(CHART, "values.yaml"), encoding="utf-8"):
        match = re.match(r"( *)(?:# ?(?P<comment>.*)|(?P<key>[\w./-]+):(?P<value> .*)?)$", line.rstrip())
        if not match:
            if not line.strip():
                comment = []
            continue
        if match["comment"] is not None:
            comment.append(match["comment"])
            continue
        depth = len(match[1]) // 2
        path[depth:] = [match["key"]]
        found.append((".".join(path), (match["value"] or "").strip() or None, " ".join(comment)))
        comment = []
    return found


def entry(name, default, text):
    """A list entry, broken at the last column."""
    head = f"- **`{name}`**"
    if default is not None:
        head += f", default `{default}`"
    return textwrap.fill(
        f"{head}: {text}" if text else head, COLUMNS, subsequent_indent="  ", break_long_words=False,
        break_on_hyphens=False)


def tables():
    schema = json.load(open(os.path.join(CHART, "values.schema.json"), encoding="utf-8"))["definitions"]
    lines = ["## Values", "", *(entry(*value) for value in values() if any(value[1:]))]
    for title, name in (("A pool", "pool"), ("A model", "model")):
        lines += ["", f"## {title}", ""]
        lines += [entry(key, None, field["description"]) for key, field in schema[name]["properties"].items()]
    return "\n" + "\n".join(lines) + "\n"


def main():
    with open(README, encoding="utf-8") as file:
        old = file.read()
    if MARK not in old:
        sys.exit(f"{README} lacks the line: {MARK}")
    new = old.partition(MARK)[0] + MARK + tables()
    if sys.argv[1:] == ["--check"]:
        if new != old:
            sys.exit("helm/atelier/README.md is out of date; run eng/chart-readme.py.")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        with open(README, "w", encoding="utf-8") as file:
            file.write(new)


main()
