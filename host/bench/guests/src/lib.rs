//! Guests that the bench measures with: see `stages`.
