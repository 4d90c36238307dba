//! Where a case is tried: each shell on each runtime.

use super::{Options, Sandbox, Server, Session, create_sandbox, docker, shared, v1};

/// What starts the sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The embedded one.
    Linux,
    /// A Docker daemon.
    Docker,
}

impl Runtime {
    /// The server that most tests share.
    pub fn shared(self) -> &'static Server {
        match self {
            Self::Linux => shared(),
            Self::Docker => docker::shared_server(),
        }
    }

    /// How a server of the test's own is started.
    pub fn options(self) -> Options {
        match self {
            Self::Linux => Options::default(),
            Self::Docker => docker::shared_docker().options(),
        }
    }

    /// The plainest request for a sandbox with all shells.
    pub fn request(self) -> v1::CreateSandboxRequest {
        v1::CreateSandboxRequest { image: self.image(), ..Default::default() }
    }

    /// An image with all shells.
    pub fn image(self) -> String {
        match self {
            Self::Linux => "",
            Self::Docker => docker::DEBIAN,
        }
        .to_owned()
    }

    /// A sandbox for this test alone, on the shared server.
    pub async fn sandbox(self) -> Sandbox {
        create_sandbox(self.shared(), self.request()).await
    }

    /// Containers of a sandbox, where it has any.
    pub fn containers(self, sandbox_id: &str) -> Option<String> {
        match self {
            Self::Linux => None,
            Self::Docker => Some(docker::shared_docker().container(sandbox_id)).filter(|found| !found.is_empty()),
        }
    }
}

/// The shells that the contract holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// Debian's /bin/sh.
    Dash,
    /// GNU.
    Bash,
    /// As root's shell on a Mac.
    Zsh,
    /// Busybox's, as in Alpine.
    Ash,
}

impl Shell {
    /// What a client asks for.
    pub fn path(self) -> &'static str {
        match self {
            Self::Dash => "/bin/dash",
            Self::Bash => "/bin/bash",
            Self::Zsh => "/bin/zsh",
            // A multi-call binary without an applet's name is its ash.
            Self::Ash => "/bin/busybox",
        }
    }

    /// Fails, and says what to install, when the host image would not have it.
    pub fn require(self) {
        let package = match self {
            Self::Dash => "dash",
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Ash => "busybox-static",
        };
        assert!(
            std::path::Path::new(self.path()).exists(),
            "these tests need {}: apt-get install {package}",
            self.path()
        );
    }
}

/// One place of the grid.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// What starts the sandbox.
    pub runtime: Runtime,
    /// What the session runs.
    pub shell: Shell,
}

impl At {
    /// A sandbox for this test alone, on the shared server.
    pub async fn sandbox(self) -> Sandbox {
        self.shell.require();
        self.runtime.sandbox().await
    }

    /// A session in a sandbox for this test alone.
    pub async fn session(self) -> Session {
        self.sandbox().await.into_session(self.shell.path()).await
    }
}

/// Makes a test of each function for each shell on each runtime, so that the name of a failure says where it failed:
/// `bytes_arrive_unchanged::linux::zsh::nothing_is_trimmed`.
///
/// dash and ash speak one dialect to the agent, and no runtime changes that: on Docker dash stands for both, and ash is
/// tried there by the tests of images.
#[macro_export]
macro_rules! in_every_shell {
    ($($name:ident),* $(,)?) => {
        mod linux {
            mod dash { $crate::in_every_shell!(@ Linux Dash $($name)*); }
            mod bash { $crate::in_every_shell!(@ Linux Bash $($name)*); }
            mod zsh { $crate::in_every_shell!(@ Linux Zsh $($name)*); }
            mod ash { $crate::in_every_shell!(@ Linux Ash $($name)*); }
        }
        mod docker {
            mod dash { $crate::in_every_shell!(@ Docker Dash $($name)*); }
            mod bash { $crate::in_every_shell!(@ Docker Bash $($name)*); }
            mod zsh { $crate::in_every_shell!(@ Docker Zsh $($name)*); }
        }
    };
    (@ $runtime:ident $shell:ident $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let at = $crate::kit::At {
                    runtime: $crate::kit::Runtime::$runtime,
                    shell: $crate::kit::Shell::$shell,
                };
                super::super::$name(at).await;
            }
        )*
    };
}

/// Makes a test of each function on each runtime: `limits_hold::docker::processes_are_counted`.
#[macro_export]
macro_rules! in_every_runtime {
    ($($name:ident),* $(,)?) => {
        mod linux { $crate::in_every_runtime!(@ Linux $($name)*); }
        mod docker { $crate::in_every_runtime!(@ Docker $($name)*); }
    };
    (@ $runtime:ident $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                super::$name($crate::kit::Runtime::$runtime).await;
            }
        )*
    };
}
