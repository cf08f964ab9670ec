-- One row for each peak that was recorded for a physical machine in one precision. A machine has one peak in a precision
-- and power mode; where num_peaks is above 1, or recorded_to_physical is far from 1, the recorded efficiencies cannot be
-- compared. Ids that are aliases of each other are one machine.
-- example: select machine, precision, recorded_peak_flops, hardware_ids from peak_consistency where not consistent
-- column machine: The first, in alphabetical order, of the ids of this machine
-- column recorded_peak_flops [FLOP/s]: Peak that the runs recorded
-- column num_peaks [1]: Different recorded peaks of this machine in this precision
-- column consistent: Whether this is the only one
-- column num_runs [1]: Good runs that recorded this peak
-- column hardware_ids: Ids of the machine under which it was recorded
-- column physical_peak_flops [FLOP/s]: Physical peak by the table `hardware`, the largest over those ids; NULL where not known
-- column recorded_to_physical [1]: recorded_peak_flops / physical_peak_flops
WITH recorded AS (
    SELECT
        m.machine,
        r.precision,
        r.theoretical_peak_flops AS recorded_peak_flops,
        count(*) AS num_runs,
        array_sort(array_agg(DISTINCT r.hardware_id)) AS hardware_ids,
        max(p.physical_peak_flops) AS physical_peak_flops
    FROM good_runs r
    JOIN machine_aliases m ON m.hardware_id = r.hardware_id
    LEFT JOIN physical_peaks p ON p.hardware_id = r.hardware_id AND p.precision = r.precision
    WHERE r.theoretical_peak_flops IS NOT NULL
    GROUP BY m.machine, r.precision, r.theoretical_peak_flops
)
SELECT
    machine,
    precision,
    recorded_peak_flops,
    count(*) OVER (PARTITION BY machine, precision) AS num_peaks,
    count(*) OVER (PARTITION BY machine, precision) = 1 AS consistent,
    num_runs,
    hardware_ids,
    physical_peak_flops,
    recorded_peak_flops / NULLIF(physical_peak_flops, 0) AS recorded_to_physical
FROM recorded
