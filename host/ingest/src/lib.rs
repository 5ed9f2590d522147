//! martello-ingest
