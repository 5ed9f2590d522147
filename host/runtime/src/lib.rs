//! martello-runtime
