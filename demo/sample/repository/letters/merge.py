"""Many letters: a template and a table of guests."""

import csv

from letters.template import fill


def merge(template, table):
    """Yield one letter for each row of a CSV table, whose header row names the placeholders.

    >>> list(merge("Dear {{ name }}!", ["name,table", "Ada,12", "Grace,7"]))
    ['Dear Ada!', 'Dear Grace!']
    """
    for row in csv.DictReader(table):
        yield fill(template, row)
