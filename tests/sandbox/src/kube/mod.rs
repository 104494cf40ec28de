//! Kubernetes: written next.
