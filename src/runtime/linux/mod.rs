//! The embedded runtime: namespaces, an overlay root, cgroups and seccomp, made by a small zygote.
