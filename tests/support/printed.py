"""What the command prints, taken apart."""
import re
import unicodedata


def printed_changes(text):
    return [line for line in text.splitlines() if re.match("    (Port|Interface) ", line)]


def columns_of(text):
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(char) else
               2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def check_table(text, width=80):
    """Every row's cells begin where the header's do. Returns the rows, as lists of cells."""
    lines = [line for line in text.splitlines() if not line.startswith("watcher: ")]
    assert lines[0].split() == ["VM", "BRIDGE", "VIF", "TAG", "TAP", "TAG", "STATE"]
    starts = [found.start() for found in re.finditer(r"\S+", lines[0])]
    rows = []
    for line in lines:
        assert columns_of(line) <= width, line
        assert line == line.rstrip()
        if line.startswith("    "):
            continue
        # As a terminal shows it: a wide character takes two columns.
        cells = "".join("" if unicodedata.combining(char) else
                        char + (columns_of(char) - 1) * "\0" for char in line)
        assert all(cells[start - 2:start] == "  " and cells[start] != " "
                   for start in starts[1:]), text
        rows.append([cells[start:end].strip().replace("\0", "")
                     for start, end in zip(starts, starts[1:] + [None])])
    return rows[1:]
