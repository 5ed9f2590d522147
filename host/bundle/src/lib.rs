//! martello-bundle
