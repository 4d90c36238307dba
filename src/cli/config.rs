//! Options of `serve`: flags win over the configuration file, which wins over defaults.

use super::{
    error::CliError,
    launch::{self, RuntimeKind, RuntimeOption},
    listen::Listen,
    log::LogFormat,
    named_image,
    serve_args::Args,
    size::Bytes,
    span::{self, Span},
};
use crate::{
    image::Allowed,
    sandbox::{Lifetimes, Policy},
    server::{AtStop, Most, Tls, Web},
    verification::AtOnce,
    volume::Binds,
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use toml::{Table, Value};

const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// What a client may ask for as the longest run time of a command.
const LONGEST_COMMAND: Duration = Duration::from_secs(30 * 86_400);

/// The least that a client may ask for as the limit of a sandbox's files.
const LEAST_DISK: u64 = 1 << 20;

/// All options, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) listen: SocketAddr,
    pub(super) insecure: bool,
    pub(super) tls: Option<Tls>,
    pub(super) web: Option<Web>,
    pub(super) data_dir: PathBuf,
    pub(super) runtime: RuntimeKind,
    pub(super) runtime_options: Vec<RuntimeOption>,
    /// URL of the database; none for the one in the data directory.
    pub(super) database: Option<String>,
    pub(super) at_stop: AtStop,
    pub(super) policy: Policy,
    /// Directories of samples.
    pub(super) catalog: Vec<PathBuf>,
    /// Verifications that run at one time.
    pub(super) verifications: AtOnce,
    /// Of commands whose client says nothing of one.
    pub(super) command_timeout: Option<Duration>,
    /// None for as many as usual.
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_address: usize,
    pub(super) log: Option<String>,
    pub(super) log_format: LogFormat,
}

/// The options of a configuration file, named as the flags are, with `_` for `-`.
#[derive(Debug, Default)]
struct File {
    listen: Option<Listen>,
    data_dir: Option<PathBuf>,
    runtime: Option<RuntimeKind>,
    runtime_option: Option<BTreeMap<String, String>>,
    allow_image: Option<Vec<String>>,
    allow_bind: Option<Vec<PathBuf>>,
    image_root: Option<Vec<PathBuf>>,
    image: Option<BTreeMap<String, named_image::Source>>,
    catalog: Option<Vec<PathBuf>>,
    allow_host_network: Option<bool>,
    insecure: Option<bool>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    grpc_web: Option<bool>,
    cors_origin: Option<Vec<String>>,
    max_sandboxes: Option<usize>,
    max_verifications: Option<usize>,
    max_verifications_per_tenant: Option<usize>,
    max_connections: Option<usize>,
    max_connections_per_address: Option<usize>,
    database: Option<String>,
    ephemeral: Option<bool>,
    default_ttl: Option<Span>,
    max_ttl: Option<Span>,
    default_idle_timeout: Option<Span>,
    max_idle_timeout: Option<Span>,
    default_command_timeout: Option<Span>,
    max_waiting_creations: Option<usize>,
    default_disk_bytes: Option<Bytes>,
    max_pool_bytes: Option<Bytes>,
    max_layer_bytes: Option<Bytes>,
    log: Option<String>,
    log_format: Option<LogFormat>,
}

impl Config {
    /// Puts flags, file and defaults together. All mistakes are reported at once.
    pub(super) fn new(args: Args) -> Result<Self, CliError> {
        let mut mistakes = Vec::new();
        let file = args.config.as_deref().map(|path| File::read(path, &mut mistakes)).unwrap_or_default();
        let listen = args.listen.or(file.listen).map_or(DEFAULT_ADDRESS, |listen| listen.0);
        let tls = tls(
            args.tls_cert.or(file.tls_cert),
            args.tls_key.or(file.tls_key),
            args.client_ca.or(file.client_ca),
            &mut mistakes,
        );
        let origins = if args.cors_origin.is_empty() { file.cors_origin.unwrap_or_default() } else { args.cors_origin };
        let web = web(args.grpc_web || file.grpc_web.unwrap_or(false), &origins, &mut mistakes);
        let roots = if args.image_root.is_empty() { file.image_root.unwrap_or_default() } else { args.image_root };
        let image_roots = roots.iter().filter_map(|root| root_of("--image-root", root, &mut mistakes)).collect();
        let binds = if args.allow_bind.is_empty() { file.allow_bind.unwrap_or_default() } else { args.allow_bind };
        let binds = binds.iter().filter_map(|root| root_of("--allow-bind", root, &mut mistakes)).collect();
        let runtime = args.runtime.or(file.runtime).unwrap_or_default();
        let named_images = named_image::all(file.image, args.image, runtime, &mut mistakes);
        let catalog = if args.catalog.is_empty() { file.catalog.unwrap_or_default() } else { args.catalog };
        for directory in &catalog {
            if let Err(error) = directory.read_dir() {
                mistakes.push(format!("--catalog {}: {error}", directory.display()));
            }
        }
        let data_dir = args.data_dir.or(file.data_dir).or_else(default_data_dir);
        if data_dir.is_none() {
            mistakes.push("there is no HOME to keep data in; name a directory with --data-dir".to_owned());
        }
        let max_connections = args.max_connections.or(file.max_connections);
        let per_address = args.max_connections_per_address.or(file.max_connections_per_address);
        let in_all = args.max_verifications.or(file.max_verifications);
        let of_tenant = args.max_verifications_per_tenant.or(file.max_verifications_per_tenant);
        for (name, most) in [
            ("--max-connections", max_connections),
            ("--max-connections-per-address", per_address),
            ("--max-verifications", in_all),
            ("--max-verifications-per-tenant", of_tenant),
        ] {
            if most == Some(0) {
                mistakes.push(format!("{name}: must be 1 or more"));
            }
        }
        let standard = Policy::default();
        let span = |flag: Option<Span>, file: Option<Span>, default| flag.or(file).map_or(default, |span| span.0);
        let lifetimes = Lifetimes {
            default_ttl: span(args.default_ttl, file.default_ttl, standard.lifetimes.default_ttl),
            max_ttl: span(args.max_ttl, file.max_ttl, standard.lifetimes.max_ttl),
            default_idle_timeout: span(
                args.default_idle_timeout,
                file.default_idle_timeout,
                standard.lifetimes.default_idle_timeout,
            ),
            max_idle_timeout: span(args.max_idle_timeout, file.max_idle_timeout, standard.lifetimes.max_idle_timeout),
        };
        // A default of ours is cut to the operator's maximum; one of the operator's own that cannot be given is a mistake.
        mistakes.extend(span::beyond("ttl", args.default_ttl.or(file.default_ttl), lifetimes.max_ttl));
        let default_idle = args.default_idle_timeout.or(file.default_idle_timeout);
        mistakes.extend(span::beyond("idle-timeout", default_idle, lifetimes.max_idle_timeout));
        let command_timeout = span(args.default_command_timeout, file.default_command_timeout, None);
        if command_timeout.is_some_and(|timeout| timeout > LONGEST_COMMAND) {
            mistakes.push("--default-command-timeout: must be 1s to 30d, or none".to_owned());
        }
        let runtime = args.runtime.or(file.runtime).unwrap_or_default();
        let mut options: Vec<_> = file.runtime_option.into_iter().flatten().chain(args.runtime_option).collect();
        match args.max_pool_bytes.or(file.max_pool_bytes) {
            None => {}
            Some(_) if runtime != RuntimeKind::Linux => {
                mistakes.push("--max-pool-bytes: only the linux runtime has a pool".to_owned());
            }
            Some(Bytes(Some(bytes))) => options.push(launch::pool_of(bytes)),
            Some(Bytes(None)) => mistakes.push("--max-pool-bytes: must be a size; 0 is no pool".to_owned()),
        }
        let default_disk_bytes = args.default_disk_bytes.or(file.default_disk_bytes);
        if default_disk_bytes.is_some_and(|Bytes(bytes)| bytes.is_some_and(|bytes| bytes < LEAST_DISK)) {
            mistakes.push("--default-disk-bytes: must be 1M or more, or none".to_owned());
        }
        let ephemeral = args.ephemeral || file.ephemeral.unwrap_or(false);
        let config = Self {
            listen,
            insecure: args.insecure || file.insecure.unwrap_or(false),
            tls,
            web,
            data_dir: data_dir.unwrap_or_default(),
            runtime,
            // Later ones win.
            runtime_options: options,
            database: args.database.or(file.database),
            at_stop: if ephemeral { AtStop::Delete } else { AtStop::Keep },
            policy: Policy {
                max_sandboxes: args.max_sandboxes.or(file.max_sandboxes).unwrap_or(standard.max_sandboxes),
                default_disk_bytes: default_disk_bytes.map_or(standard.default_disk_bytes, |bytes| bytes.0),
                lifetimes,
                waiting_creations: args
                    .max_waiting_creations
                    .or(file.max_waiting_creations)
                    .unwrap_or(standard.waiting_creations),
                creations_at_once: standard.creations_at_once,
                max_layer_bytes: args
                    .max_layer_bytes
                    .or(file.max_layer_bytes)
                    .map_or(standard.max_layer_bytes, |bytes| bytes.0.unwrap_or(u64::MAX)),
                images: Allowed {
                    roots: image_roots,
                    references: if args.allow_image.is_empty() {
                        file.allow_image.unwrap_or_default()
                    } else {
                        args.allow_image
                    },
                    named: named_images,
                },
                binds: Binds(binds),
                allow_host_network: args.allow_host_network || file.allow_host_network.unwrap_or(false),
            },
            catalog,
            verifications: {
                let in_all = in_all.unwrap_or(AtOnce::default().in_all);
                AtOnce { in_all, of_tenant: of_tenant.unwrap_or(in_all) }
            },
            command_timeout,
            max_connections,
            max_connections_per_address: per_address.unwrap_or(Most::default().per_address),
            log: args.log.or(file.log),
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        };
        if mistakes.is_empty() { Ok(config) } else { Err(CliError::Options(mistakes)) }
    }
}

impl File {
    fn read(path: &Path, mistakes: &mut Vec<String>) -> Self {
        let parsed = fs::read_to_string(path).map_err(|error| error.to_string());
        match parsed.and_then(|text| text.parse::<Table>().map_err(|error| error.to_string())) {
            Ok(table) => Self::from_table(table, &path.display().to_string(), mistakes),
            Err(reason) => {
                mistakes.push(format!("--config {}: {}", path.display(), reason.trim_end()));
                Self::default()
            }
        }
    }

    fn from_table(mut table: Table, path: &str, mistakes: &mut Vec<String>) -> Self {
        let file = Self {
            listen: take(&mut table, "listen", path, mistakes),
            data_dir: take(&mut table, "data_dir", path, mistakes),
            runtime: take(&mut table, "runtime", path, mistakes),
            runtime_option: take(&mut table, "runtime_option", path, mistakes),
            allow_image: take(&mut table, "allow_image", path, mistakes),
            allow_bind: take(&mut table, "allow_bind", path, mistakes),
            image_root: take(&mut table, "image_root", path, mistakes),
            image: take(&mut table, "image", path, mistakes),
            catalog: take(&mut table, "catalog", path, mistakes),
            allow_host_network: take(&mut table, "allow_host_network", path, mistakes),
            insecure: take(&mut table, "insecure", path, mistakes),
            tls_cert: take(&mut table, "tls_cert", path, mistakes),
            tls_key: take(&mut table, "tls_key", path, mistakes),
            client_ca: take(&mut table, "client_ca", path, mistakes),
            grpc_web: take(&mut table, "grpc_web", path, mistakes),
            cors_origin: take(&mut table, "cors_origin", path, mistakes),
            max_sandboxes: take(&mut table, "max_sandboxes", path, mistakes),
            max_verifications: take(&mut table, "max_verifications", path, mistakes),
            max_verifications_per_tenant: take(&mut table, "max_verifications_per_tenant", path, mistakes),
            max_connections: take(&mut table, "max_connections", path, mistakes),
            max_connections_per_address: take(&mut table, "max_connections_per_address", path, mistakes),
            database: take(&mut table, "database", path, mistakes),
            ephemeral: take(&mut table, "ephemeral", path, mistakes),
            default_ttl: take(&mut table, "default_ttl", path, mistakes),
            max_ttl: take(&mut table, "max_ttl", path, mistakes),
            default_idle_timeout: take(&mut table, "default_idle_timeout", path, mistakes),
            max_idle_timeout: take(&mut table, "max_idle_timeout", path, mistakes),
            default_command_timeout: take(&mut table, "default_command_timeout", path, mistakes),
            default_disk_bytes: take(&mut table, "default_disk_bytes", path, mistakes),
            max_pool_bytes: take(&mut table, "max_pool_bytes", path, mistakes),
            max_waiting_creations: take(&mut table, "max_waiting_creations", path, mistakes),
            max_layer_bytes: take(&mut table, "max_layer_bytes", path, mistakes),
            log: take(&mut table, "log", path, mistakes),
            log_format: take(&mut table, "log_format", path, mistakes),
        };
        for key in table.keys() {
            mistakes.push(format!("{path}: {key} is not an option; see `sandshell serve --help`, with _ for -"));
        }
        file
    }
}

fn take<T: DeserializeOwned>(table: &mut Table, key: &str, path: &str, mistakes: &mut Vec<String>) -> Option<T> {
    let value: Value = table.remove(key)?;
    match value.try_into() {
        Ok(value) => Some(value),
        Err(error) => {
            mistakes.push(format!("{path}: {key}: {}", error.to_string().trim_end()));
            None
        }
    }
}

/// Certificate and key go together, and only with them can clients be asked for theirs.
fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    mistakes: &mut Vec<String>,
) -> Option<Tls> {
    let mistake = match (certificate, key) {
        (Some(certificate), Some(key)) => match Tls::load(&certificate, &key, client_ca.as_deref()) {
            Ok(tls) => return Some(tls),
            Err(error) => error.to_string(),
        },
        (Some(_), None) => "--tls-cert also needs --tls-key, the certificate's private key".to_owned(),
        (None, Some(_)) => "--tls-key also needs --tls-cert, the certificate of that key".to_owned(),
        (None, None) if client_ca.is_some() => {
            "--client-ca also needs --tls-cert and --tls-key: only over TLS do clients show certificates".to_owned()
        }
        (None, None) => return None,
    };
    mistakes.push(mistake);
    None
}

/// gRPC-Web, if it is wanted, and the pages that may use it.
fn web(is_wanted: bool, origins: &[String], mistakes: &mut Vec<String>) -> Option<Web> {
    let web = Web::new(origins).map_err(|error| mistakes.push(error.to_string())).ok();
    if !is_wanted && !origins.is_empty() {
        mistakes.push("--cors-origin also needs --grpc-web: pages call by nothing else".to_owned());
    }
    web.filter(|_| is_wanted)
}

/// A directory that clients may name what is below of, canonical: what they name is compared with it after all links were followed.
fn root_of(option: &str, root: &Path, mistakes: &mut Vec<String>) -> Option<PathBuf> {
    let found = root.canonicalize().and_then(|root| root.read_dir().map(|_| root));
    found.map_err(|error| mistakes.push(format!("{option} {}: {error}", root.display()))).ok()
}

/// Where a server keeps its data unless told otherwise.
pub(super) fn default_data_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/sandshell"));
    }
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("sandshell"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str, args: Args) -> Result<Config, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandshell.toml");
        fs::write(&path, text).unwrap();
        Config::new(Args { config: Some(path), ..args })
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "listen = \"127.0.0.1:1\"\nmax_sandboxes = 7\nlog_format = \"json\"";
        let args = Args { listen: Some("127.0.0.1:2".parse().unwrap()), ..Args::default() };
        let config = from_file(text, args).unwrap();
        assert_eq!((config.listen.port(), config.policy.max_sandboxes), (2, 7));
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let text = "listen = 5\nmax_sandboxes = -1\nmax_connections = 0\nruntime = \"vmware\"\nimage_root = [\"/no/such\"]\ncolour = 1";
        let Err(CliError::Options(mistakes)) = from_file(text, Args::default()) else { panic!("accepted") };
        for part in ["listen", "max_sandboxes", "--max-connections:", "runtime", "/no/such", "colour"] {
            assert_eq!(mistakes.iter().filter(|mistake| mistake.contains(part)).count(), 1, "{part}: {mistakes:?}");
        }
    }

    #[test]
    fn a_default_above_its_maximum_is_a_mistake() {
        let text = "default_ttl = \"2h\"\nmax_ttl = \"1h\"\nmax_idle_timeout = \"30m\"";
        let error = from_file(text, Args::default()).unwrap_err().to_string();
        assert!(error.contains("--default-ttl: is 7200 s") && !error.contains("idle"), "{error}");
        let error = from_file(&format!("{text}\ndefault_idle_timeout = \"1h\""), Args::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--default-idle-timeout: is 3600 s, which is more than --max-idle-timeout, 1800 s")
        );
    }

    #[test]
    fn half_of_tls_is_a_mistake() {
        for text in ["tls_cert = \"a\"", "tls_key = \"a\"", "client_ca = \"a\""] {
            let error = from_file(text, Args::default()).unwrap_err().to_string();
            assert!(error.contains("also needs --tls-"), "{error}");
        }
    }
}
