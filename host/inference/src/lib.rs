//! martello-inference
