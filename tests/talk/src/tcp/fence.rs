//! Makes sure that everything said before has had its effect: hidden clients pass a marker to each other.
//!
//! Why several: batches between two cores keep their order, so a marker that went from one core to another proves that
//! what went before it has arrived. With enough clients there is one on each core, whatever places them; a core that
//! has none makes the check weaker, never wrong. The marker's topic begins with `$`, so no wildcard of a scenario
//! hears it.
//!
//! Source: MQTT 3.1.1 sections 3.1, 3.3 and 3.8 for the bytes; section 4.7.2 for `$`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TOPIC: &[u8] = b"$fence/m";

/// The hidden clients.
pub(super) struct Fence {
    members: Vec<TcpStream>,
    round: u64,
}

impl Fence {
    /// Connects and subscribes `count` clients.
    pub(super) fn raise(address: SocketAddr, count: usize) -> Result<Self, String> {
        let members = (0..count).map(|at| member(address, at)).collect::<Result<_, _>>()?;
        Ok(Self { members, round: 0 })
    }

    /// Lets every client publish the marker, until every client has heard all of them; twice, because what a client
    /// said just before may be taken from its socket only behind the first marker.
    pub(super) fn pass(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            self.round += 1;
            let marker = marker(self.round);
            for member in &mut self.members {
                member.write_all(&marker).map_err(|error| format!("the fence cannot write: {error}"))?;
            }
            let count = self.members.len();
            for member in &mut self.members {
                for _ in 0..count {
                    expect(member, &marker)?;
                }
            }
        }
        Ok(())
    }
}

fn member(address: SocketAddr, at: usize) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("the fence has no connection: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let id = format!("fence-{at:02}");
    let mut connect = vec![0x10, 20, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 8];
    connect.extend(id.as_bytes());
    stream.write_all(&connect).map_err(failed)?;
    expect(&mut stream, &[0x20, 2, 0, 0])?;
    let mut subscribe = vec![0x82, 13, 0, 1, 0, 8];
    subscribe.extend(TOPIC);
    subscribe.push(0);
    stream.write_all(&subscribe).map_err(failed)?;
    expect(&mut stream, &[0x90, 3, 0, 1, 0])?;
    Ok(stream)
}

fn marker(round: u64) -> Vec<u8> {
    let mut out = vec![0x30, 18, 0, 8];
    out.extend(TOPIC);
    out.extend(round.to_be_bytes());
    out
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let mut came = vec![0; bytes.len()];
    stream.read_exact(&mut came).map_err(|error| format!("the fence heard nothing: {error}"))?;
    if came == bytes { Ok(()) } else { Err(format!("the fence heard {came:02x?} instead of {bytes:02x?}")) }
}
