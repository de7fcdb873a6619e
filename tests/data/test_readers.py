"""Readers against hand-made files, broken ones above all."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autogpt.data.readers import Table, fingerprint, read, sample
from autogpt.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
GOOD = '{"text": "a", "label": "x"}\n'


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def reasons(table: Table) -> list[tuple[str, str]]:
    return [(drop.id, drop.reason) for drop in table.drops]


# --- what is refused: one line that names the file and what it is -----------------------------------------------------

REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("a.jsonl", b"", "empty"),
    "white space only": ("a.csv", b" \n\r\n\t", "empty"),
    "BOM only": ("a.txt", b"\xef\xbb\xbf\n", "empty"),
    "HTML named jsonl": ("a.jsonl", "<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "HTML named csv": ("a.csv", "\n <html lang=en>", "web page"),
    "git-lfs pointer": ("a.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git-lfs"),
    "gzip named jsonl": ("a.jsonl", gzip.compress(b"{}"), "gzip"),
    "xlsx named csv": ("a.csv", b"PK\x03\x04\x14\x00\x06\x00", "Excel"),
    "old xls named csv": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"),
    "PDF named txt": ("a.txt", b"%PDF-1.7 ...", "PDF"),
    "binary": ("a.jsonl", bytes(range(8)) + b"\x00" * 300, "binary"),
    "UTF-16 without BOM": ("a.csv", "text,label\na,b\n".encode("utf-16-le"), "UTF-16 without"),
    "latin-1": ("a.csv", "text,label\ncafé naïve,à la carte\n".encode("latin-1"), "neither UTF-8 nor GB18030"),
    "no JSON at all": ("a.jsonl", "hello\nworld\n", "a.jsonl row 1: not JSON; found 'hello'"),
    "first three lines bad": ("a.jsonl", "x\ny\nz\n" + GOOD * 20, "row 1: not JSON"),
    "more than half bad": ("a.jsonl", GOOD + "no\n" + GOOD + "no\nno\n", "3 of 5 rows"),
    "scalars": ("a.jsonl", '1\n"a"\nnull\n', "not an object"),
    "empty objects": ("a.jsonl", "{}\n{}\n", "empty row"),
    "JSON scalar": ("a.json", '"text"', "holds no rows"),
    "JSON columns": ("a.json", '{"text": ["a", "b"], "label": ["x", "y"]}', "holds columns"),
    "JSON with two lists": ("a.json", '{"train": [{"a": 1}], "test": [{"a": 1}]}', "several lists"),
    "truncated JSON": ("a.json", '[{"text": "a"},\n{"text": "b', "line 2 is not JSON"),
    "trailing comma": ("a.json", '[{"text": "a"},]', "is not JSON"),
    "empty array": ("a.json", "[]", "no rows"),
    "nested too deeply": ("a.json", "[" * 100_000, "nested too deeply"),
    "nested too deeply, a line": ("a.jsonl", '{"a":' * 100_000 + "\n", "nested too deeply"),
    "header only": ("a.csv", "text,label\n", "no rows"),
    "duplicate columns": ("a.csv", "text,text\na,b\n", "names columns twice"),
    "no header": ("a.csv", "味道很好，推荐,正面\n坏,负面\n行,正面\n棒,正面\n", "has no header"),
    "unclosed quote": ("a.csv", 'text,label\nx,y\n"never ends,y\nz,y\n', "line 3; found a quote"),
    "ragged throughout": ("a.csv", "text,label\na,b,c\nd,e,f\ng,h\n", "wrong number of columns"),
    "no parquet": ("a.parquet", b"PAR0 nothing", "not a Parquet file"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused_in_one_line(case: str, tmp_path: Path) -> None:
    name, content, says = REFUSED[case]
    with pytest.raises(DataError) as raised:
        read(put(tmp_path, name, content))
    message = str(raised.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 400


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "reviews.jsonl", GOOD)
    with pytest.raises(DataError, match=r"did you mean 'reviews\.jsonl'"):
        read(tmp_path / "review.jsonl")
    with pytest.raises(DataError, match="no folder"):
        read(tmp_path / "nowhere" / "review.jsonl")


def test_things_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="not a regular file"):
        read(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="is an address"):
        read(Path("https://example.org/data.jsonl"))
    with pytest.raises(DataError, match="no file 'a whole sentence"):
        read(Path("a whole sentence " * 50))
    (tmp_path / "folder").mkdir()
    put(tmp_path / "folder", "README.md", "notes")
    with pytest.raises(DataError, match="no data file in folder"):
        read(tmp_path / "folder")


# --- what is dropped and counted --------------------------------------------------------------------------------------

DROPPED: dict[str, tuple[str, str]] = {
    "not JSON": ("{text: 1}", "not JSON"),
    "truncated line": ('{"text": "a", "la', "not JSON"),
    "lone surrogate": ('{"text": "a\\ud800"}', "lone surrogate"),
    "nested lone surrogate": ('{"text": "a", "more": [{"k": "\\udfff"}]}', "lone surrogate"),
    "escaped NUL": ('{"text": "a\\u0000"}', "NUL character"),
    "raw NUL": ('{"text": "a\x00"}', "NUL character"),
    "NaN": ('{"text": "a", "score": NaN}', "number not finite"),
    "1e999": ('{"text": "a", "score": 1e999}', "number not finite"),
    "duplicate key": ('{"text": "a", "text": "b"}', "duplicate key"),
    "scalar": ("17", "not an object"),
    "array": ("[1, 2]", "not an object"),
    "empty object": ("{}", "empty row"),
    "5000 digits": ('{"n": ' + "9" * 5000 + "}", "not JSON"),
}


@pytest.mark.parametrize("case", DROPPED, ids=str)
def test_bad_rows_are_dropped_with_their_line(case: str, tmp_path: Path) -> None:
    line, reason = DROPPED[case]
    table = read(put(tmp_path, "a.jsonl", f"{GOOD}\n{GOOD}{line}\n{GOOD}"))
    assert len(table.rows) == 3
    assert table.ids == ("a.jsonl:1", "a.jsonl:3", "a.jsonl:5")
    assert reasons(table) == [("a.jsonl:4", reason)]


def test_bytes_that_are_not_utf8_cost_only_their_rows(tmp_path: Path) -> None:
    lines = ['{"text": "好"}'.encode()] * 5
    lines.insert(2, b'{"text": "\xff\xfe"}')
    table = read(put(tmp_path, "a.jsonl", b"\n".join(lines)))
    assert (len(table.rows), table.encoding, reasons(table)) == (5, "utf-8", [("a.jsonl:3", "not UTF-8")])
    cut = '{"text": "好"}\n'.encode() * 5 + '{"text": "好'.encode()[:-1]
    table = read(put(tmp_path, "b.jsonl", cut))
    assert (len(table.rows), reasons(table)) == (5, [("b.jsonl:6", "not UTF-8")])


def test_csv_rows_that_do_not_fit(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.csv", 'text,label\na,x\nb\nc,x\ntext,label\nd,y\n"e"f,y\ng,z\n'))
    assert [row["text"] for row in table.rows] == ["a", "c", "d", "g"]
    assert reasons(table) == [
        ("a.csv:3", "wrong number of columns"), ("a.csv:5", "header repeated"), ("a.csv:7", "broken quotes")
    ]  # fmt: skip
    assert table.ids[0] == "a.csv:2"


# --- what is read, and that nothing changes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "encoding"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("gb18030", "gb18030"), ("gbk", "gb18030")],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.json", "a.tsv"])
def test_encodings(codec: str, encoding: str, name: str, tmp_path: Path) -> None:
    text = "今天天气很好，我们去公园散步吧。"
    contents = {
        "a.jsonl": json.dumps({"text": text}, ensure_ascii=False) * 1 + "\n",
        "a.json": json.dumps([{"text": text}], ensure_ascii=False),
        "a.csv": f"text\n{text}\n",
        "a.tsv": f"text\n{text}\n",
        "a.txt": text,
    }
    table = read(put(tmp_path, name, contents[name].encode(codec)))
    assert table.rows == ({"text": text},)
    assert table.encoding == encoding
    assert table.format == name.partition(".")[2]
    assert table.layout == "text"


def test_traditional_chinese_in_gb18030(tmp_path: Path) -> None:
    text = "這個國家的經濟發展得很快，學習的機會也很多。"
    assert read(put(tmp_path, "a.txt", text.encode("gb18030"))).rows[0]["text"] == text


def test_csv_values_stay_strings(tmp_path: Path) -> None:
    values = ["007", "NA", "null", "None", "1e5", "123456789012345678901234567890", "2024-01-02", "TRUE", "=1+1", " a "]
    content = "value,n\n" + "".join(f"{value},{n}\n" for n, value in enumerate(values))
    table = read(put(tmp_path, "a.csv", content))
    assert [row["value"] for row in table.rows] == values
    assert all(isinstance(row["n"], str) for row in table.rows)


def test_big_integers_stay_exact(tmp_path: Path) -> None:
    big = 123456789012345678901234567890
    assert read(put(tmp_path, "a.jsonl", json.dumps({"text": "a", "n": big}))).rows[0]["n"] == big


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(sign: str, ending: str, tmp_path: Path) -> None:
    lines = [f"text{sign}label", f"Hello world{sign}a", f'"x{sign}y, z; w"{sign}b']
    table = read(put(tmp_path, "a.csv", ending.join(lines) + ending))
    assert [tuple(row.values()) for row in table.rows] == [("Hello world", "a"), (f"x{sign}y, z; w", "b")]


def test_tsv_with_loose_quotes(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.tsv", 'text\tlabel\nHe said "hi\ta\n"Oh no\tb\n'))
    assert [row["text"] for row in table.rows] == ['He said "hi', '"Oh no']


def test_a_column_may_be_called_like_its_values(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.csv", "message,spam\nwin now,spam\nhello,ham\nwin more,spam\n"))
    assert table.columns == ("message", "spam")


def test_json_rows_with_nan_are_dropped_alone(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.json", '[{"a": 1}, {"a": NaN}, {"a": 1e999}, {"a": 2}]'))
    assert reasons(table) == [("a.json:2", "number not finite"), ("a.json:3", "number not finite")]


def test_csv_header_is_trimmed_and_empty_columns_go(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.csv", ",text , label,\n0,a,x,\n1,b,y,\n"))
    assert table.columns == ("column_1", "text", "label")
    long = "长" * 200_000  # beyond the csv module's own field limit
    assert read(put(tmp_path, "b.csv", f"text,label\n{long},a\n")).rows[0]["text"] == long
    assert csv.field_size_limit() == 131072


@pytest.mark.parametrize(
    ("name", "content", "format_name"),
    [
        ("a.json", '[{"t": "a"}, {"t": "b"}]', "json"),
        ("a.json", '{"data": [{"t": "a"}, {"t": "b"}], "version": 1}', "json"),
        ("a.json", '{"rows": [{"t": "a"}, {"t": "b"}]}', "json"),
        ("a.json", '{"t": "a"}\n{"t": "b"}\n', "jsonl"),
        ("a.jsonl", '[\n{"t": "a"},\n{"t": "b"}\n]', "json"),
        ("a.jsonl", '{\n "t": "a"\n}\n{\n "t": "b"\n}', "json"),
        ("a.txt", '{"t": "a"}\n{"t": "b"}\n', "jsonl"),
        ("a", '{"t": "a"}\r\n{"t": "b"}', "jsonl"),
        ("a.data", '[{"t": "a"}, {"t": "b"}]', "json"),
        ("a", "t\tn\na\t1\nb\t2\n", "tsv"),
        ("a", "t,n\na,1\nb,2\n", "csv"),
    ],
)
def test_format_by_extension_then_content(name: str, content: str, format_name: str, tmp_path: Path) -> None:
    table = read(put(tmp_path, name, content))
    assert [row["t"] for row in table.rows] == ["a", "b"]
    assert table.format == format_name


def test_squad_is_laid_out_flat(tmp_path: Path) -> None:
    answers = [{"text": "a", "answer_start": 0}, {"text": "b", "answer_start": 1}]
    document = {
        "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": answers}]}]}]
    }
    table = read(put(tmp_path, "squad.json", json.dumps(document)))
    assert table.rows == ({"context": "c", "question": "q", "answers": ["a", "b"]},)


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca"),
        ({"instruction": "a", "output": "b"}, "alpaca"),
        ({"prompt": "a", "completion": "b"}, "prompt_completion"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "sharegpt"),
        ({"conversations": [{"role": "user", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}], "domain": "x"}, "messages"),
        ({"messages": "no turns", "label": "x"}, "table"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"),
        ({"text": "a"}, "text"),
        ({"text": "a", "label": "b"}, "table"),
    ],
)
def test_layouts(row: dict[str, object], layout: str, tmp_path: Path) -> None:
    assert read(put(tmp_path, "a.jsonl", json.dumps(row))).layout == layout


def test_columns_in_order_of_appearance(tmp_path: Path) -> None:
    table = read(put(tmp_path, "a.jsonl", '{"b": 1}\n{"a": 1, "b": 2}\n'))
    assert table.columns == ("b", "a")
    assert "a" not in table.rows[0]


def test_plain_text_is_cut_at_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n}. " + "word " * 40 for n in range(600)]
    table = read(put(tmp_path, "book.txt", "\n\n".join(paragraphs)))
    assert "\n\n".join(row["text"] for row in table.rows) == "\n\n".join(paragraphs)
    assert all(800 <= len(row["text"]) <= 1500 for row in table.rows[:-1])
    assert (table.layout, table.columns) == ("text", ("text",))


def test_small_and_odd_texts(tmp_path: Path) -> None:
    poems = [f"床前明月光{n}\n疑是地上霜" for n in range(60)]
    assert [row["text"] for row in read(put(tmp_path, "poems.txt", "\n\n".join(poems))).rows] == poems
    wall = "一二三四五六七八九。" * 3000  # one paragraph: cut at sentence ends
    rows = [row["text"] for row in read(put(tmp_path, "wall.txt", wall)).rows]
    assert "".join(rows) == wall
    assert all(row.endswith("。") and len(row) <= 1500 for row in rows)
    lines = [f"slogan {n}" for n in range(100)]
    assert len(read(put(tmp_path, "lines.txt", "\r\n".join(lines))).rows) >= 50
    assert len(read(put(tmp_path, "endless.txt", "x" * 10_000)).rows) > 5


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    put(tmp_path, "a.jsonl", GOOD)
    put(tmp_path / "b", "a.jsonl", GOOD + GOOD + "bad\n")
    put(tmp_path / "b", "c.csv", "text,label\nq,x\n")
    put(tmp_path, ".hidden.jsonl", "bad")
    put(tmp_path, "README.md", "notes")
    table = read(tmp_path)
    assert table.ids == ("a.jsonl:1", "b/a.jsonl:1", "b/a.jsonl:2", "b/c.csv:2")
    assert reasons(table) == [("b/a.jsonl:3", "not JSON")]
    assert (table.format, table.encoding, table.layout) == ("mixed", "utf-8", "table")


def test_odd_paths(tmp_path: Path) -> None:
    path = put(tmp_path, "我的 data 🙂.jsonl", GOOD)
    assert read(path).ids == ("我的 data 🙂.jsonl:1",)


def test_parquet(tmp_path: Path) -> None:
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "text": ["a", "b"],
        "when": [datetime.date(2024, 1, 2), None],
        "price": [decimal.Decimal("1.50"), None],
        "score": [1.5, float("nan")],
        "turns": [[{"role": "user"}], []],
        "image": [b"\x00", b"\x01"],
        "__index_level_0__": [0, 1],
    }
    for name in ("a.parquet", "noextension"):
        pq.write_table(pa.table(columns), tmp_path / name)
        table = read(tmp_path / name)
        assert table.rows == (
            {"text": "a", "when": "2024-01-02", "price": "1.50", "score": 1.5, "turns": [{"role": "user"}]},
            {"text": "b", "when": None, "price": None, "score": None, "turns": []},
        )
        assert (table.format, table.encoding) == ("parquet", "binary")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'autogpt-lm\[parquet\]'"):
        read(put(tmp_path, "a.parquet", b"PAR1"))


def test_sample_and_fingerprint(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", "".join(json.dumps({"n": n}) + "\n" for n in range(50)))
    table = read(path)
    drawn = sample(table, size=10, seed=3)
    numbers = [row["n"] for row in drawn.rows]
    assert len(numbers) == 10
    assert numbers == sorted(numbers)
    assert drawn == sample(table, size=10, seed=3)
    assert drawn != sample(table, size=10, seed=4)
    assert (drawn.total_rows, drawn.source, drawn.layout) == (50, "a.jsonl", "table")
    other = put(tmp_path, "b.jsonl", path.read_bytes())
    assert fingerprint([path]) == fingerprint([other])
    assert len(fingerprint([path])) == 16
    assert fingerprint([path]) != fingerprint([put(tmp_path, "c.jsonl", GOOD)])
    assert fingerprint([path, other]) != fingerprint([path])


def test_reading_loads_no_torch() -> None:
    code = "import sys, autogpt.data; print([m for m in ('torch', 'transformers', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- write → read is the identity -------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(texts, json_values, min_size=1, max_size=4), min_size=1, max_size=5),
    ascii_=st.booleans(),
)
def test_jsonl_round_trip(
    rows: list[dict[str, object]], ascii_: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    content = "".join(json.dumps(row, ensure_ascii=ascii_) + "\n" for row in rows)
    table = read(put(path.parent, path.name, content))
    assert list(table.rows) == rows
    assert not table.drops


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), sign=st.sampled_from([",", ";", "\t", "|"]))
def test_csv_round_trip(rows: list[tuple[str, str]], sign: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=sign).writerows([("the text", "the label"), *rows])
    table = read(put(tmp_path_factory.mktemp("csv"), "a.csv", buffer.getvalue()))
    assert [(row["the text"], row["the label"]) for row in table.rows] == rows
    assert not table.drops


# --- real data --------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "dialogue": "messages",
    "tooluse": "messages",
    "instruction": "alpaca",
    "preference": "preference",
    "web": "text",
}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the checkout")
def test_real_files_are_read_whole() -> None:
    files = sorted(SHARED.glob("*/*.train.jsonl"))
    assert len(files) > 20
    for file in files:
        table = read(file)
        assert not table.drops, file.name
        assert len(table.rows) == file.read_text(encoding="utf-8").count("\n"), file.name
        assert table.layout == LAYOUTS.get(file.parent.name, "table"), file.name
        assert table.encoding == "utf-8"
