//! Step Functions: written next.
