"""README.txt of a bundle: what is inside, and how to check it by hand."""

from __future__ import annotations

from firsthand.evidence.documents import About

#: No wrong link and no changed entry in chain.jsonl; with `hash` of the last entry compare a head that you have from elsewhere.
CHAIN = """SELECT count(*) AS wrong FROM (
  SELECT *, sha256('[' || sequence || ',' || to_json(kind) || ',' || time || ',' || to_json(body) || ',' || to_json(previous) || ']')
    AS found, lag(hash) OVER (ORDER BY sequence) AS before
  FROM read_json('chain.jsonl', format = 'newline_delimited', columns = {sequence: 'BIGINT', kind: 'VARCHAR', time: 'BIGINT',
    body: 'VARCHAR', previous: 'VARCHAR', hash: 'VARCHAR'}))
WHERE found <> hash OR before <> previous"""
#: Every segment is named by an entry, with its hash.
NAMED = """SELECT count(*) AS unnamed FROM read_json('sources.json') s
WHERE kind = 'segment' AND NOT EXISTS (
  SELECT 1 FROM read_json('chain.jsonl', format = 'newline_delimited', columns = {body: 'VARCHAR'}) c WHERE contains(c.body, s.sha256))"""
#: Every row stands in its segment. The names of pods and containers may have come after the segment, so they are left out.
ROWS = """SELECT count(*) AS wrong FROM (
  SELECT * EXCLUDE (why, log_position, pod, namespace, workload, image, container_name, workload_source)
  FROM 'rows/process.parquet' WHERE source LIKE 'segments/%'
EXCEPT
  SELECT * EXCLUDE (log_position, pod, namespace, workload, image, container_name, workload_source, filename, file_row_number),
    filename AS source, file_row_number AS source_row
  FROM read_parquet('segments/process/*.parquet', filename = true, file_row_number = true, union_by_name = true,
    hive_partitioning = false))"""

_TEXT = """EVIDENCE, MADE BY FIRSTHAND {version} ON {node} AT {made}

What was asked for
  {question}
What is missing, if anything, is in completeness.json.

What is inside
  bundle.json         the question, who made this and when, the nodes with their kernels, the chain's head
  rows/TABLE.parquet  the rows: their table's columns, and behind them where each is from: `source` (a file in here), `source_row`
                      (its number there, from 0), and `why`: window (asked for), lineage (the images and parents that those came
                      from), names (whose they are), record (whether the window was observed in whole)
  sources.json        the files that the rows are from, with hashes, and the entry of the chain that names each
  {segments}
  chunks/             parts of the log whose rows were in no segment yet. No entry of the chain names them: their checksums alone
                      hold, so whoever could write the history could have made them
  chain.jsonl         the entries of the history's hash chain, from before the window up to the head
  heads.jsonl         heads as they were published before this was made: compare with what you have of them from elsewhere
  layouts/            descriptions of the kernel's records, named by their SHA-256
  completeness.json   whether the window was observed in whole, and why not
  SHA256SUMS          the SHA-256 of every other file

Check with Firsthand, on any machine, without the history
  firsthand verify THIS-FILE.tar --head SEQUENCE:HASH
The head comes from whoever keeps it: the journal of the node, or the file of setting integrity.heads, copied elsewhere.

Check by hand, in an empty folder, with sha256sum and DuckDB
  tar xf THIS-FILE.tar
  sha256sum --quiet -c SHA256SUMS     nothing is said: every file is what it was
  sha256sum SHA256SUMS                the bundle's digest, as it was printed when this was made
In `duckdb`, each of these finds 0:

-- entries of the chain that were changed, or do not follow on one another
{chain};

-- segments that no entry of the chain names
{named};

-- rows of processes that do not stand in their segment as they stand here
{rows};

The last entry's `sequence` and `hash` are the head.
"""
_WHOLE = "segments/TABLE/     the whole segments that the rows are from, named by their SHA-256. They hold rows of others as well"
_ROWS_ONLY = """segments/           left out (--rows-only): that the rows stand in them as they stand here is the word of whoever made this;
                      the last check below needs them"""


def text(about: About) -> bytes:
    """The file's content."""
    plain = about.plain()["question"]
    words = [f"{name} {plain[name]}" for name in ("namespace", "pod", "node", "selector") if plain[name] is not None]
    asked = f"{plain['since_utc']} to {plain['until_utc']}, {', '.join(words) or 'everything'}"
    segments = _WHOLE if about.segments else _ROWS_ONLY
    found = _TEXT.format(
        version=about.made_by["version"], node=about.made_by["node"], made=about.made_by["at"], question=asked,
        segments=segments, chain=CHAIN, named=NAMED, rows=ROWS,
    )  # fmt: skip
    return found.encode("utf-8", "backslashreplace")
