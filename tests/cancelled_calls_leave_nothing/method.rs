//! The methods of the public services, each as it is called in this test.

/// Makes an enumeration and the list of its values from one list of names.
macro_rules! methods {
    ($($name:ident),* $(,)?) => {
        /// One call of the many.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Method {
            $($name,)*
        }

        pub(super) const METHODS: &[Method] = &[$(Method::$name),*];
    };
}

methods!(
    CreateSandbox,
    CreateAndWatchSandbox,
    GetSandbox,
    ListSandboxes,
    UpdateSandbox,
    DeleteSandbox,
    GetSandboxStats,
    WatchSandbox,
    CreateSession,
    GetSession,
    ListSessions,
    CloseSession,
    ExecInSession,
    ExecDirect,
    RunInSession,
    RunDirect,
    Attach,
    GetCommand,
    ListCommands,
    SignalCommand,
);
