"""Reads a scrape from standard input with prometheus_client's parser of the named format, and encodes it again with
prometheus_client's own exposition: the text must be the same, line by line, but for the way numbers are written."""

import re
import sys

from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client import parser as text_parser


class Parsed:
    """A collector of what was parsed."""

    def __init__(self, families):
        self.families = families

    def collect(self):
        return self.families


LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


def normal(line: str) -> str:
    """The line with its labels in alphabetical order and its numbers as Python writes them."""
    if line.startswith("#") or not line.strip():
        return line.rstrip()
    sample, mark, exemplar = line.partition(" # {")
    if mark:
        labels, _, numbers = exemplar.rpartition("} ")
        return f"{normal(sample)} # {{{labels}}} {[float(number) for number in numbers.split()]}"
    head, _, value = line.rpartition(" ")
    name, brace, labels = head.partition("{")
    pairs = [(label, repr(float(text)) if label == "le" else text) for label, text in sorted(LABEL.findall(labels))]
    return f"{name}{brace}{','.join(f'{label}={text}' for label, text in pairs)} {float(value)!r}"


def main() -> int:
    text = sys.stdin.read()
    openmetrics = sys.argv[1] == "openmetrics"
    parse = (openmetrics_parser if openmetrics else text_parser).text_string_to_metric_families
    families = list(parse(text))
    encode = openmetrics_exposition.generate_latest if openmetrics else generate_latest
    ours = [normal(line) for line in text.splitlines()]
    theirs = [normal(line) for line in encode(Parsed(families)).decode().splitlines()]
    for number, (one, other) in enumerate(zip(ours, theirs), start=1):
        if one != other:
            print(f"line {number}: ours {one!r}, prometheus_client's {other!r}")
            return 1
    if len(ours) != len(theirs):
        print(f"{len(ours)} lines, prometheus_client's {len(theirs)}")
        return 1
    print(f"{len(families)} families, {len(ours)} lines")
    return 0


sys.exit(main())
