"""The data contract that is exported: valid by the standard's own schema, and true to the contracts of the tables."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from groundlake import Lake
from groundlake.odcs import data_contract
from groundlake.schemas import FACT_TABLES, TABLES, Runs, SubgraphTimings

if TYPE_CHECKING:
    from pathlib import Path

standard = pytest.importorskip("open_data_contract_standard.model", reason="pip install 'groundlake[dev]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install 'groundlake[dev]'")


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The contract as a reader of the YAML sees it."""
    return yaml.safe_load(yaml.safe_dump(data_contract(Lake("lake"))))


def test_it_is_valid_by_the_schema_and_the_model_of_the_standard(contract):
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(contract)] == []
    contract["schema"][0]["properties"][0]["logicalType"] = "float"
    assert [error.message for error in validator.iter_errors(contract)] != []
    contract["schema"][0]["properties"][0]["logicalType"] = "string"
    read = standard.OpenDataContractStandard.from_string(yaml.safe_dump(contract))
    assert [table.name for table in read.schema_] == list(TABLES)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.table_name())
def test_every_column_is_there_as_the_contract_has_it(contract, table):
    (found,) = (each for each in contract["schema"] if each["name"] == table.table_name())
    assert found["description"] == table.documentation()
    assert len(found.get("quality", [])) == len(table.row_rules())
    for spec, told in zip(table.columns(), found["properties"], strict=True):
        assert (told["name"], told["description"], told["required"]) == (spec.name, spec.description, not spec.nullable)
        units = [each["value"] for each in told.get("customProperties", []) if each["property"] == "unit"]
        assert units == ([spec.unit] if spec.unit else [])
        assert told.get("partitioned", False) == (spec.name in table.keys())
        leads_to_runs = spec.name == "run_id" and table in FACT_TABLES.values()
        assert ("relationships" in told) == leads_to_runs


def test_ranges_patterns_and_allowed_values_are_told(contract):
    told = {table["name"]: {each["name"]: each for each in table["properties"]} for table in contract["schema"]}
    assert told["subgraph_timings"]["latency_mean_ms"]["logicalTypeOptions"] == {"minimum": 0}
    statuses = Runs.to_schema().columns["status"].checks[0].statistics["allowed_values"]
    assert [each["value"] for each in told["runs"]["status"]["enum"]] == list(statuses)
    assert told["subgraph_timings"]["node_names"]["items"] == {"logicalType": "string", "physicalType": "VARCHAR"}
    assert [part["name"] for part in told["runs"]["fact_files"]["items"]["properties"]] == ["path", "bytes", "sha256"]


def test_the_command_writes_all_tables_or_some(cli, tmp_path: Path):
    assert yaml.safe_load(cli("export", "odcs").stdout)["servers"][0]["database"] == str(tmp_path / "lake.db")
    cli("export", "odcs", "--table", "subgraph_timings", "-o", "contract.yaml")
    written = yaml.safe_load((tmp_path / "contract.yaml").read_text())
    assert [table["name"] for table in written["schema"]] == [SubgraphTimings.table_name()]
    assert "no table 'nope'" in cli("export", "odcs", "--table", "nope", code=2).stderr
    assert "folder that exists" in cli("export", "odcs", "-o", "no/such/file.yaml", code=2).stderr
