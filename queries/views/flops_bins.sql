-- One row for each bin of FLOPs that efficiency curves are made of: half a decade of the FLOPs of a subgraph, lower end
-- included: below 1e5, from 1e5 to 3e5, from 3e5 to 1e6, ..., from 3e9 to 1e10, from 1e10.
-- example: select bin_from_flops, bin_to_flops from flops_bins
-- column bin_from_flops [FLOP]: Lower end of the bin
-- column bin_to_flops [FLOP]: Upper end of the bin, which is not in it; NULL in the last one, which has none
-- column flops_bin_centre [FLOP]: Centre by the rule of the v1 curves: lower end times the root of 10; 1e5 / 3 in the first bin
SELECT
    bin_from_flops,
    lead(bin_from_flops) OVER (ORDER BY bin_from_flops) AS bin_to_flops,
    CASE WHEN bin_from_flops = 0 THEN 1e5 / 3 ELSE bin_from_flops * sqrt(10) END AS flops_bin_centre
FROM (
    VALUES (0e0), (1e5), (3e5), (1e6), (3e6), (1e7), (3e7), (1e8), (3e8), (1e9), (3e9), (1e10)
) AS v (bin_from_flops)
