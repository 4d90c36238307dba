"""Makes records.parquet of records.jsonl, as somebody would who publishes a benchmark: with pyarrow, and with what it can do.

    pip install pyarrow==26.0.1 && python3 tests/parquet/make.py

Two rows in each group, dictionaries, the newer form of pages, lists as lists, texts of both lengths, a time, and a record within each record.
"""

import datetime
import json
import pathlib

import pyarrow
import pyarrow.parquet

here = pathlib.Path(__file__).parent
rows = [json.loads(line) for line in (here / "records.jsonl").read_text().splitlines()]
for row in rows:
    row["created_at"] = datetime.datetime.fromisoformat(row["created_at"])
schema = pyarrow.schema(
    [
        ("instance_id", pyarrow.string()),
        ("repo", pyarrow.string()),
        ("base_commit", pyarrow.string()),
        ("problem_statement", pyarrow.string()),
        ("patch", pyarrow.large_string()),
        ("test_patch", pyarrow.large_string()),
        ("FAIL_TO_PASS", pyarrow.list_(pyarrow.string())),
        ("PASS_TO_PASS", pyarrow.large_list(pyarrow.string())),
        ("created_at", pyarrow.timestamp("us")),
        ("license", pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
        ("stars", pyarrow.int32()),
        ("score", pyarrow.float64()),
        ("meta", pyarrow.struct([("files", pyarrow.int64())])),
    ]
)
pyarrow.parquet.write_table(
    pyarrow.Table.from_pylist(rows, schema=schema),
    here / "records.parquet",
    row_group_size=2,
    compression="zstd",
    data_page_version="2.0",
    version="2.6",
)

# A page that says of itself that it has 2 GiB. Its place stays as long as it was: the checksum makes room for the longer number.
small = here / "says_2_gib.parquet"
columns = {"instance_id": ["a"], "repo": ["owner/a"], "base_commit": ["0" * 40], "problem_statement": ["Do it." * 20]}
pyarrow.parquet.write_table(
    pyarrow.table(columns), small, compression="zstd", use_dictionary=False, write_statistics=False, write_page_checksum=True
)
written = small.read_bytes()
page = pyarrow.parquet.ParquetFile(small).metadata.row_group(0).column(3).data_page_offset


def number(at):
    """Behind the number of a header that begins there."""
    while written[at] & 128:
        at += 1
    return at + 1


def of_length(value, length):
    """A number of a header, in this many bytes."""
    parts = [value >> 7 * place & 127 for place in range(length)]
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


# Fields of the header: 1 the type, 2 the size, 3 the size in the file, 4 the checksum, 5 the header of what is in it.
assert written[page : page + 3] == b"\x15\x00\x15", written[page : page + 3]
size_ends = number(page + 3)
assert written[size_ends] == 0x15
checksum = number(size_ends + 1)
assert written[checksum] == 0x15
rest = number(checksum + 1)
assert written[rest] == 0x1C
before = written[: page + 3] + of_length(2 * (2**31 - 1), 5)
header = before + written[size_ends:checksum] + b"\x2c"
# Numbers may have zeros at their end, so the type takes what is left.
left = rest + 1 - len(header)
header = written[: page + 1] + of_length(0, 1 + left) + header[page + 2 :]
assert len(header) == rest + 1, (len(header), rest + 1)
small.write_bytes(header + written[rest + 1 :])

# Lists of which none has an entry: nothing says what an entry is. And what we do not unpack.
empty = columns | {"instance_id": ["owner__calc-0", "owner__calc-1"], "FAIL_TO_PASS": [["t"]] * 2, "PASS_TO_PASS": [[]] * 2}
empty = pyarrow.table({name: values * 2 if len(values) == 1 else values for name, values in empty.items()})
pyarrow.parquet.write_table(empty, here / "no_entries.parquet")
pyarrow.parquet.write_table(empty, here / "lz4.parquet", compression="lz4")
