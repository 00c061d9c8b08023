"""Parquet, `.parquet`: a table for polars, pandas, DuckDB, and for viewers of embeddings.

    word    string (UTF-8)
    count   int64, null where it is not known
    vector  a list of D float32; in Arrow's terms a fixed-size list

One row a word, in the order of ids. Compressed by Snappy, which every reader knows; numbers do not
shrink anyway. polars writes it, and it is not read back: a damaged file can abort the process
inside of polars, and the readers here answer in one line.
"""

import io
from typing import BinaryIO

from w2v.vectors import WordVectors

NAME = "parquet"
SUFFIXES = (".parquet",)
MAGIC = b"PAR1"


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table."""
    import polars as pl

    table = pl.DataFrame(
        {
            "word": pl.Series(vectors.words, dtype=pl.String),
            "count": pl.Series(vectors.counts or [None] * len(vectors), dtype=pl.Int64),
            "vector": pl.Series(vectors.matrix),
        }
    )
    # Not into the file itself: polars loses what the system says of a full disk.
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="snappy")
    file.write(buffer.getbuffer())
