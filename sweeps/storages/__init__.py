"""Where studies are kept: SQLite or a server, with patience for one that cannot be written for a while."""
