//! The address that a server listens on, as people write it: `127.0.0.1:50051`, `localhost:50051`, or a port alone, which
//! means this host only.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// The address that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Listen(pub(super) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse() {
            return Ok(Self((Ipv4Addr::LOCALHOST, port).into()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let advice = "write HOST:PORT, as 127.0.0.1:50051, or a port alone for this host only; 0.0.0.0:PORT is every \
                      IPv4 address of this host, and [::]:PORT every address";
        let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
            return Err(advice.to_owned());
        };
        let port: u16 = port.parse().map_err(|_| format!("{port:?} is no port; {advice}"))?;
        // Not asked of the system, which may know only the address of the other protocol.
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(Self((Ipv4Addr::LOCALHOST, port).into()));
        }
        let found = (host, port).to_socket_addrs().map_err(|error| format!("{host:?}: {error}; {advice}"))?;
        found.map(Self).next().ok_or_else(|| format!("{host:?} has no address; {advice}"))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_it_in_several_ways() {
        for (text, meant) in [
            ("5000", "127.0.0.1:5000"),
            ("0", "127.0.0.1:0"),
            ("localhost:5000", "127.0.0.1:5000"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(text.parse(), Ok(Listen(meant.parse().unwrap())), "{text}");
        }
        for wrong in ["", ":", ":5000", "localhost", "localhost:", "localhost:70000", "::1", "no.such.name.invalid:5"] {
            let refused = wrong.parse::<Listen>().unwrap_err();
            assert!(refused.contains("HOST:PORT"), "{wrong:?}: {refused}");
        }
    }
}
