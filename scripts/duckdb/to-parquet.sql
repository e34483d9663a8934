-- Copies the views to Parquet files beside the current directory, which later queries read instead. After views.sql.
COPY pairs TO 'pairs.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY turns TO 'turns.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY attempts TO 'attempts.parquet' (FORMAT parquet, COMPRESSION zstd);
COPY warnings TO 'warnings.parquet' (FORMAT parquet, COMPRESSION zstd);
