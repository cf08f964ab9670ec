"""Pictures: charts over the rows of a query, and a report of one file. altair and vl_convert load only in here."""
