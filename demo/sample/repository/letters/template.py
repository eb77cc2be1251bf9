"""One letter: a template and the values of its placeholders."""

import re

PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")


class MissingValueError(LookupError):
    """A template has placeholders that no value was given for."""

    def __init__(self, names):
        super().__init__(f"no value for {', '.join(names)}")
        self.names = names


def placeholders(template):
    """Return the names of the template's placeholders, each once, in order of appearance.

    >>> placeholders("Dear {{ name }}, see you at {{ time }}. Yours, {{ host }}")
    ['name', 'time', 'host']
    """
    return list(dict.fromkeys(PLACEHOLDER.findall(template)))


def fill(template, values):
    """Return the template with each placeholder replaced by its value.

    >>> fill("Dear {{ name }}!", {"name": "Ada"})
    'Dear Ada!'

    Raises MissingValueError if a placeholder has no value.
    """
    names = placeholders(template)
    if missing := [name for name in names if name not in values]:
        raise MissingValueError(missing)
    letter = template
    for name in names:
        letter = letter.replace("{{ " + name + " }}", values[name])
    return letter
