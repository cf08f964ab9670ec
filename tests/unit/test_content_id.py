"""Run ids derived from content are a promise: another spelling would import everything a second time."""

from __future__ import annotations

import struct
import uuid

from groundlake.importers.candidates import RUN_NAMESPACE, content_id

KEY = ("dev", "fp32", "resnet18", 4, "2026-02-07T12:00:00")
SUBGRAPHS = {"subgraph_id": [0, 1], "latency_mean_ms": [0.1, 1e300], "node_names": [["conv1", "größe"], []]}


def test_the_id_of_a_recorded_measurement_stays() -> None:
    assert content_id(KEY, SUBGRAPHS) == "5e2c02e9-0ffd-50ce-ae3e-78658aeba287"


def test_floats_are_spelled_as_their_bytes_little_endian() -> None:
    spelled = struct.pack("<2d", 0.1, 1e300).hex()
    text = (
        '[["dev","fp32","resnet18",4,"2026-02-07T12:00:00"],'
        f'{{"latency_mean_ms":"{spelled}","node_names":[["conv1","gr\\u00f6\\u00dfe"],[]],"subgraph_id":[0,1]}}]'
    )
    assert content_id(KEY, SUBGRAPHS) == str(uuid.uuid5(RUN_NAMESPACE, text))


def test_the_order_of_columns_plays_no_part() -> None:
    assert content_id(KEY, dict(reversed(SUBGRAPHS.items()))) == content_id(KEY, SUBGRAPHS)


def test_the_last_bit_of_a_latency_makes_another_run() -> None:
    other = SUBGRAPHS | {"latency_mean_ms": [0.10000000000000002, 1e300]}
    assert other["latency_mean_ms"] != SUBGRAPHS["latency_mean_ms"]
    assert content_id(KEY, other) != content_id(KEY, SUBGRAPHS)
