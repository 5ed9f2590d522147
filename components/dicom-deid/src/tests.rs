//! Tests of the requirements.
