"""Jobs that outlive their process: kept in a database by DBOS, run by the owner or by workers."""
