//! martello-pipeline
