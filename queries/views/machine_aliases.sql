-- One row for each hardware id in the lake: the physical machine behind it. Ids that a specification in `hardware` names as
-- aliases of each other are one machine in one power mode, measured under several names; `lake hw register` writes the
-- specifications that groundlake knows. Without one, an id is a machine of its own.
-- example: select machine, hardware_id from machine_aliases where num_ids > 1
-- column machine: The first, in alphabetical order, of the ids of this machine
-- column num_ids [1]: Hardware ids in the lake that are this machine
WITH ids AS (
    SELECT DISTINCT hardware_id
    FROM runs
),
named AS (
    SELECT i.hardware_id, min(CASE WHEN a.hardware_id < i.hardware_id THEN a.hardware_id ELSE i.hardware_id END) AS machine
    FROM ids i
    LEFT JOIN hardware own ON own.hardware_id = i.hardware_id
    LEFT JOIN hardware other ON array_contains(other.aliases, i.hardware_id)
    LEFT JOIN ids a ON array_contains(own.aliases, a.hardware_id) OR a.hardware_id = other.hardware_id
    GROUP BY i.hardware_id
)
SELECT hardware_id, machine, count(*) OVER (PARTITION BY machine) AS num_ids
FROM named
