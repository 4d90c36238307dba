"""Lines of comma-separated values."""


def split(line):
    """The fields of a line. In a quoted field commas count for nothing, and two quotes stand for one."""
    fields, field, quoted = [], "", False
    for character in line:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += character
    if quoted:
        raise ValueError("a quote is not closed")
    fields.append(field)
    return fields


def join(fields):
    """A line of these fields."""
    return ",".join(f'"{field}"' if "," in field else field for field in fields)
