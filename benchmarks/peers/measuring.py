"""Measure one store: load, compact, answer the questions, or take appends."""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from peers.questions import QUESTIONS, digest
from peers.timing import append_together, medians_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from peers.store import Store

STORES = {
    "parquet": "parquet.OneFile",
    "parquet_leaves": "parquet.LeafFiles",
    "ducklake": "ducklake.DuckLake",
    "delta": "delta.Delta",
    "iceberg": "iceberg.Iceberg",
    "lance": "lance.Lance",
}


def store_class(name: str) -> type[Store]:
    """The class of a store; importing it fails where the store is not installed."""
    module, _, class_name = STORES[name].partition(".")
    found: type[Store] = getattr(import_module(f"peers.{module}"), class_name)
    return found


def measure(name: str, data: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Load a store, compact it, and ask it everything."""
    store = store_class(name)(folder)
    start = time.perf_counter()
    store.load(data)
    loaded = time.perf_counter()
    store.compact()
    compacted = time.perf_counter()
    files = [path for path in folder.rglob("*") if path.is_file()]
    latency = store.columns.index("latency_mean_ms")
    return {
        "software": store.software(),
        "load_s": loaded - start,
        "compact_s": compacted - loaded,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "answers": {name: digest(name, getattr(store, name)(), latency) for name in QUESTIONS},
        "ms": {name: medians_ms({name: getattr(store, name)}, repeats)[name] for name in QUESTIONS},
    }


def appends(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Append the rows of `append.parquet` again and again, by several processes."""
    rows = pq.read_table(data / "append.parquet")
    store_class(name)(folder).make_empty(rows)
    found = append_together(partial(opened, name, folder, rows))
    return {"software": store_class(name).software()} | found.result(rows.num_rows, store_class(name)(folder).count())


def opened(name: str, folder: Path, rows: pa.Table) -> Callable[[], object]:
    """Open a store for appends of these rows."""
    return partial(store_class(name)(folder).appender(), rows)
