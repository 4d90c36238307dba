//! The edge: gRPC services, errors, request ids.
