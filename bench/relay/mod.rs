//! Servers without a broker in them: an echo and relays. They are what the machine itself costs.
//!
//! Why part of the generator: a ratio to a ceiling measured in the same run, by the same clients, survives a change of
//! machine; an absolute figure does not.
//!
//! Invariants:
//! - One thread. On epoll: level-triggered, one `recv` per readable socket and turn, one `send` per written one.
//! - Nothing is decided per message; there is no lower cost for a broker on these system calls.

mod echo;
mod glommio;
mod null;
mod options;
mod peer;
mod switch;

use std::net::{SocketAddr, TcpListener};

pub(crate) use echo::Echo;
pub(crate) use null::NullRelay;
pub(crate) use options::{NullRelayOptions, RelayForm};

use crate::affinity;
use crate::failure::Failure;

/// Opens `address` for either server.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|source| Failure::os(format!("listening on {address}"), source))
}

/// Echoes until the process ends.
pub(crate) fn serve_echo(listener: TcpListener) -> Result<(), Failure> {
    announce(&listener)?;
    let mut echo = Echo::new(listener)?;
    loop {
        echo.turn(None)?;
    }
}

/// Relays until the process ends.
pub(crate) fn serve_null(options: &NullRelayOptions) -> Result<(), Failure> {
    let address = options.listening.listen;
    if options.form == RelayForm::Glommio {
        affinity::allow_most_files();
        return glommio::serve(address);
    }
    let listener = listen(address)?;
    announce(&listener)?;
    let mut relay = NullRelay::new(listener)?;
    loop {
        relay.turn(None)?;
    }
}

fn announce(listener: &TcpListener) -> Result<(), Failure> {
    affinity::allow_most_files();
    let address = listener.local_addr().map_err(|source| Failure::os("reading our own address", source))?;
    println!("listening on {address}");
    Ok(())
}
