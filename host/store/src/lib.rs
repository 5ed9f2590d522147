//! martello-store
