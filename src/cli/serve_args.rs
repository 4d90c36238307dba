//! The options of `serve`, as flags.

use super::{
    launch::{self, RuntimeKind, RuntimeOption},
    listen::Listen,
    log::LogFormat,
    named_image,
    size::Bytes,
    span::Span,
};
use std::path::PathBuf;

/// Options of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Address to listen on, or a port of 127.0.0.1; port 0 picks one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<Listen>,
    /// Directory for sandboxes and sockets [default: /var/lib/sandshell as root, else ~/.local/share/sandshell]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// What makes sandboxes [default: linux]
    #[arg(long)]
    pub(super) runtime: Option<RuntimeKind>,
    /// Option of that runtime; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = launch::runtime_option)]
    pub(super) runtime_option: Vec<RuntimeOption>,
    /// TOML file with these options, `_` for `-`; flags win
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of root file systems that clients may name as image; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) image_root: Vec<PathBuf>,
    /// Name for an image: host or a directory, with --runtime docker the name of one in a registry; may be repeated
    #[arg(long, value_name = "NAME=SOURCE", value_parser = named_image::parse)]
    pub(super) image: Vec<(String, named_image::Source)>,
    /// Image that clients may name where images come from registries, `*` for any part; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(super) allow_image: Vec<String>,
    /// Directory of samples: a dataset, or a directory of datasets; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) catalog: Vec<PathBuf>,
    /// Directory of the host that clients may make volumes of, or of what is below it; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(super) allow_bind: Vec<PathBuf>,
    /// Let clients give sandboxes the host's network
    #[arg(long)]
    pub(super) allow_host_network: bool,
    /// Database: postgres://… for several servers [default: SQLite in the data directory]
    #[arg(long, value_name = "URL", env = "SANDSHELL_DATABASE", hide_env_values = true)]
    pub(super) database: Option<String>,
    /// Delete all sandboxes when told to stop, instead of leaving them to the next server
    #[arg(long)]
    pub(super) ephemeral: bool,
    /// Time to live of a sandbox that does not ask for one: seconds, or 90s, 30m, 12h, 7d, or none [default: none]
    #[arg(long, value_name = "TIME")]
    pub(super) default_ttl: Option<Span>,
    /// Longest time to live [default: none]
    #[arg(long, value_name = "TIME")]
    pub(super) max_ttl: Option<Span>,
    /// Idle time after which a sandbox that does not ask for one is released [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(super) default_idle_timeout: Option<Span>,
    /// Longest idle time [default: none]
    #[arg(long, value_name = "TIME")]
    pub(super) max_idle_timeout: Option<Span>,
    /// Time after which a command ends whose client says nothing of a time-out, 30d at most [default: none]
    #[arg(long, value_name = "TIME", env = "SANDSHELL_DEFAULT_COMMAND_TIMEOUT")]
    pub(super) default_command_timeout: Option<Span>,
    /// Limit of the files of a sandbox that does not ask for one, where they can be limited: bytes, or 512M, 10G, or none
    /// [default: 10G]
    #[arg(long, value_name = "SIZE")]
    pub(super) default_disk_bytes: Option<Bytes>,
    /// What the files of all sandboxes may take together (linux): bytes, or 100G; 0: they have no limits [default: the disk's
    /// room, but for a reserve]
    #[arg(long, value_name = "SIZE")]
    pub(super) max_pool_bytes: Option<Bytes>,
    /// Creations of sandboxes that may wait for their turn [default: 256]
    #[arg(long, value_name = "N")]
    pub(super) max_waiting_creations: Option<usize>,
    /// Room for what the setup of samples has made, kept for their next sandboxes: bytes, or 512M or 20G [default: 20G]
    #[arg(long, value_name = "SIZE")]
    pub(super) max_layer_bytes: Option<Bytes>,
    /// Most sandboxes at one time [default: 1000]
    #[arg(long, value_name = "N")]
    pub(super) max_sandboxes: Option<usize>,
    /// Most verifications that run at one time [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    pub(super) max_verifications: Option<usize>,
    /// Most verifications of one tenant that run at one time [default: all of them]
    #[arg(long, value_name = "N")]
    pub(super) max_verifications_per_tenant: Option<usize>,
    /// Most connections at one time [default: 4096, or as many as the limit of open files leaves]
    #[arg(long, value_name = "N")]
    pub(super) max_connections: Option<usize>,
    /// Most connections from one address, loopback aside [default: 256]
    #[arg(long, value_name = "N")]
    pub(super) max_connections_per_address: Option<usize>,
    /// Certificate of the server, with those that lead to its authority after it: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of the certificate: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// Let only clients connect that have a certificate of one of these authorities: PEM
    #[arg(long, value_name = "FILE")]
    pub(super) client_ca: Option<PathBuf>,
    /// Speak gRPC-Web too, also over HTTP/1.1, for programs in browsers
    #[arg(long)]
    pub(super) grpc_web: bool,
    /// Web pages that may call by gRPC-Web, such as https://app.example.com, or * for all; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub(super) cors_origin: Vec<String>,
    /// Listen on an address that others can reach, even without TLS or API keys
    #[arg(long)]
    pub(super) insecure: bool,
    /// What to log: warn, info (a line for each call), debug, or as in RUST_LOG [default: warn]
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// How log lines look [default: text]
    #[arg(long)]
    pub(super) log_format: Option<LogFormat>,
}
