-- One row for each hardware id in the lake: the physical machine behind it. Ids that a specification in `hardware` names as
-- aliases are one machine with its own id, in one power mode, measured under several names; so are the ids of two
-- specifications that share an alias. That goes on over chains: where a names b, and b names c, all three are one machine.
-- A chain of more than five ids, each named by the one before it only, falls into several. `lake hw register` writes the
-- specifications that groundlake knows. Without one, an id is a machine of its own.
-- example: select machine, hardware_id from machine_aliases where num_ids > 1
-- column machine: The first, in alphabetical order, of the ids of this machine
-- column num_ids [1]: Hardware ids in the lake that are this machine
WITH ids AS (
    SELECT DISTINCT hardware_id
    FROM runs
),
-- Which ids a specification is about. Each step below hands the first id on to all ids of a specification, and from there
-- to all specifications of an id: one link of a chain a step, and no text for a recursion that both engines run.
members AS (
    SELECT DISTINCT i.hardware_id, coalesce(h.hardware_id, i.hardware_id) AS specification, i.hardware_id AS machine
    FROM ids i
    LEFT JOIN hardware own ON own.hardware_id = i.hardware_id
    LEFT JOIN hardware h
        ON h.hardware_id = i.hardware_id
        OR array_contains(h.aliases, i.hardware_id)
        OR CAST(to_json(array_intersect(own.aliases, h.aliases)) AS STRING) <> '[]'
),
one_named AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY specification) AS machine
    FROM members
),
one AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY hardware_id) AS machine
    FROM one_named
),
two_named AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY specification) AS machine
    FROM one
),
two AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY hardware_id) AS machine
    FROM two_named
),
three_named AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY specification) AS machine
    FROM two
),
three AS (
    SELECT hardware_id, specification, min(machine) OVER (PARTITION BY hardware_id) AS machine
    FROM three_named
),
four_named AS (
    SELECT hardware_id, min(machine) OVER (PARTITION BY specification) AS machine
    FROM three
),
four AS (
    SELECT hardware_id, min(machine) AS machine
    FROM four_named
    GROUP BY hardware_id
)
SELECT hardware_id, machine, count(*) OVER (PARTITION BY machine) AS num_ids
FROM four
