//! martello-engine
