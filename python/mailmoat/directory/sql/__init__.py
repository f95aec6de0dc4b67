"""Recipients in a database: PostgreSQL, MySQL, MariaDB and SQLite, by queries of the administrator."""
