//! The domain of sandboxes: who exists, in which state, and how to reach its agent.
