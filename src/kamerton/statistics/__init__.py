"""Intervals, tests and power for scores on the same rows, computed from sufficient statistics.

Each row of a test set is a row of additive counts (see `contracts.Metric`), so a resampled score is one matrix
product. Rows of one group are summed first: then every method below resamples groups. Methods:

| question                    | a row is right or wrong     | any other metric, or rows in groups        |
|-----------------------------|-----------------------------|--------------------------------------------|
| interval of one score       | Wilson; in groups with the  | BCa bootstrap, expanded for small samples  |
|                             | effective number of rows    |                                            |
| interval of a difference    | Bonett and Price            | paired BCa bootstrap, expanded             |
| is the difference chance?   | exact McNemar               | approximate randomisation                  |
| smallest provable difference| McNemar's power (Connor)    | 2.8 jackknife standard errors (by t)       |
| several claims at once      | Holm's step-down p-values   | the same                                   |
| several training seeds      | margins of the rows and of the seeds, added in squares (Zou and Donner)  |
| looking while data comes in | betting e-process and its confidence sequence (`sequential`)            |

Sources: Wilson 1927; Bonett and Price 2012 (recommended by Fagerland, Lydersen and Laake, Statistics
in Medicine 2014); Efron 1987 (BCa); Hesterberg 2015, "What Teachers Should Know about the Bootstrap"
(the expansion); Noreen 1989 (randomisation); Connor, Biometrics 1987 (power of McNemar's test);
Dean and Pagano 2015 (Wilson's interval in clusters); Holm 1979; Zou and Donner 2008; Waudby-Smith and
Ramdas 2024 (betting).
"""
